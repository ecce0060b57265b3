package nsqd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority signs certificates for tests.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

// newAuthority has itself in ca.pem.
func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.issue("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// leaf writes a certificate for the host called name, and this one, which is good for
// both sides.
func (a *authority) leaf(name string) {
	a.t.Helper()
	a.issue(name, &x509.Certificate{DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
}

// issue writes NAME.pem and NAME.key, signed by the authority, or by itself if it is
// the first.
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
		a.cert, a.key = cert, key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
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

// pair returns the certificate called name.
func (a *authority) pair(name string) tls.Certificate {
	a.t.Helper()
	pair, err := tls.LoadX509KeyPair(a.file(name+".pem"), a.file(name+".key"))
	if err != nil {
		a.t.Fatal(err)
	}
	return pair
}

// load reads the certificate called "nsqd" for options that set may change.
func (a *authority) load(set func(*Options)) *certificates {
	a.t.Helper()
	o := DefaultOptions()
	o.TLSCert, o.TLSKey = a.file("nsqd.pem"), a.file("nsqd.key")
	set(o)
	if err := o.Validate(); err != nil {
		a.t.Fatal(err)
	}
	c, err := loadCertificates(o)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

// handshake returns the serial number of the certificate that the server shows, and
// the server's view of the handshake.
func handshake(server, client *tls.Config) (int64, error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() {
		err := tls.Server(a, server).Handshake()
		a.Close() // so that a client that waits for more ends
		done <- err
	}()
	conn := tls.Client(b, client)
	err := conn.Handshake()
	if err != nil {
		b.Close()
	}
	if serverErr := <-done; serverErr != nil {
		err = serverErr
	}
	if err != nil {
		return 0, err
	}
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

func TestClientsMustMeetThePolicy(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	ours.leaf("nsqd")
	ours.leaf("friend")
	theirs.leaf("stranger")
	pool := x509.NewCertPool()
	pem, err := os.ReadFile(ours.file("ca.pem"))
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		t.Fatal(err)
	}
	client := func(version uint16, pairs ...tls.Certificate) *tls.Config {
		return &tls.Config{ServerName: "nsqd", RootCAs: pool, MaxVersion: version, Certificates: pairs}
	}
	const v12, v13 = tls.VersionTLS12, tls.VersionTLS13
	tests := []struct {
		name   string
		policy string
		min    TLSVersion
		client *tls.Config
		ok     bool
	}{
		{"none asked for", "", tls12, client(v13), true},
		{"too old", "", tls.VersionTLS13, client(v12), false},
		{"old enough", "", tls12, client(v12), true},
		{"any", "require", tls12, client(v13, theirs.pair("stranger")), true},
		{"none but any needed", "require", tls12, client(v12), false},
		{"ours", "require-verify", tls12, client(v13, ours.pair("friend")), true},
		{"another's", "require-verify", tls12, client(v12, theirs.pair("stranger")), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := ours.load(func(o *Options) {
				o.TLSClientAuthPolicy, o.TLSMinVersion, o.TLSRootCAFile = tt.policy, tt.min, ours.file("ca.pem")
			})
			if _, err := handshake(c.server(), tt.client); (err == nil) != tt.ok {
				t.Errorf("got %v, want accepted %v", err, tt.ok)
			}
		})
	}
}

func TestReloadIsSeenByListenersAndKeepsTheOldWhenTheNewIsBad(t *testing.T) {
	a := newAuthority(t)
	a.leaf("nsqd")
	c := a.load(func(o *Options) { o.TLSRootCAFile = a.file("ca.pem") })
	server := c.server()
	client := func() *tls.Config {
		config := c.client().Clone()
		config.ServerName = "nsqd"
		return config
	}
	before, err := handshake(server, client())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.file("nsqd.pem"), []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.reload(); err == nil || !strings.Contains(err.Error(), "failed to build TLS config") {
		t.Errorf("a bad certificate: got %v", err)
	}
	if got, err := handshake(server, client()); err != nil || got != before {
		t.Errorf("certificate %d, %v after a failed reload, want %d", got, err, before)
	}
	a.leaf("nsqd")
	if err := c.reload(); err != nil {
		t.Fatal(err)
	}
	if got, err := handshake(server, client()); err != nil || got == before {
		t.Errorf("certificate %d, %v after a reload, want another than %d", got, err, before)
	}
}

func TestWithoutCertificateThereIsNoServer(t *testing.T) {
	o := DefaultOptions()
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	c, err := loadCertificates(o)
	if err != nil {
		t.Fatal(err)
	}
	if c.server() != nil || c.client() == nil {
		t.Errorf("server %v, client %v, want only a client", c.server(), c.client())
	}
	o.TLSCert, o.TLSKey = filepath.Join(t.TempDir(), "x"), "y"
	if _, err := loadCertificates(o); err == nil || !strings.Contains(err.Error(), "failed to build TLS config - ") {
		t.Errorf("certificate that is not there: %v", err)
	}
}
