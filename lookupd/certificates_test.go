package lookupd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"nsqraft/internal/nsqtest"
)

// authority signs certificates for tests.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.issue("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue writes NAME.pem and NAME.key, signed by the authority or by itself if
// it is the first.
func (a *authority) issue(name string, cert *x509.Certificate) {
	a.t.Helper()
	a.next++
	cert.SerialNumber, cert.Subject = big.NewInt(a.next), pkix.Name{CommonName: name}
	cert.NotBefore, cert.NotAfter = time.Unix(0, 0), time.Now().Add(100*365*24*time.Hour)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = cert, key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.cert == nil {
		a.cert, a.key = cert, key
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".pem", "CERTIFICATE", der)
	a.write(name+".key", "PRIVATE KEY", keyDER)
}

func (a *authority) write(name, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(a.file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) node(name string) *certificates {
	a.t.Helper()
	a.issue(name, &x509.Certificate{DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
	c, err := loadCertificates(a.file(name+".pem"), a.file(name+".key"), a.file("ca.pem"))
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

func TestRaftPortWithTLSKnowsItsOwn(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	a, b, stranger := ours.node("a"), ours.node("b"), theirs.node("s")
	synctest.Test(t, func(t *testing.T) {
		network := nsqtest.NewNetwork()
		open := func(host string, c *certificates) *port {
			p := openPort(t, network, host, "c1", host+"/1")
			if c != nil {
				p.tls = c.configs
			}
			return p
		}
		target := open("b", b)
		defer target.Close()
		for _, tt := range []struct {
			host string
			cert *certificates
			ok   bool
		}{
			{"a", a, true},
			{"s", stranger, false},
			{"plain", nil, false},
		} {
			p := open(tt.host, tt.cert)
			_, _, err := p.connect(t.Context(), kindRaft, "b:4162", "b/1")
			if (err == nil) != tt.ok {
				t.Errorf("%s: got %v, want welcome %v", tt.host, err, tt.ok)
			}
			p.Close()
		}
	})
}

func TestReloadKeepsTheOldCertificateWhenTheNewIsBad(t *testing.T) {
	a := newAuthority(t)
	c := a.node("a")
	before, _ := c.configs()
	if err := os.WriteFile(a.file("a.pem"), []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.reload(); err == nil {
		t.Error("a bad certificate was taken")
	}
	if after, _ := c.configs(); after != before {
		t.Error("the certificate in use was given up")
	}
	a.node("a")
	if err := c.reload(); err != nil {
		t.Fatal(err)
	}
	if after, _ := c.configs(); after == before {
		t.Error("a good certificate was not taken")
	}
}
