package nsqadmin

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"
)

// A certificate is what this nsqadmin shows its clients. It may be reloaded at any
// time: connections made from then on have the new one.
type certificate struct {
	cert, key string // files
	current   atomic.Pointer[tls.Certificate]
}

func loadCertificate(cert, key string) (*certificate, error) {
	c := &certificate{cert: cert, key: key}
	return c, c.reload()
}

// reload reads the files anew. On error what was read before stays.
func (c *certificate) reload() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("load --tls-cert: %w", err)
	}
	c.current.Store(&pair)
	return nil
}

// config returns what a listener uses; it follows reloads by itself.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current.Load(), nil
		},
	}
}

// clientTLS returns what is used towards daemons, from the files that o names.
func clientTLS(o *Options) (*tls.Config, error) {
	config := &tls.Config{InsecureSkipVerify: o.TLSInsecureSkipVerify}
	if o.ClientTLSCert != "" {
		pair, err := tls.LoadX509KeyPair(o.ClientTLSCert, o.ClientTLSKey)
		if err != nil {
			return nil, fmt.Errorf("failed to LoadX509KeyPair %s, %s - %w", o.ClientTLSCert, o.ClientTLSKey, err) // stock's
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if o.ClientTLSRootCAFile != "" {
		pem, err := os.ReadFile(o.ClientTLSRootCAFile)
		if err != nil {
			return nil, fmt.Errorf("failed to read TLS root CA file %s - %w", o.ClientTLSRootCAFile, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in TLS root CA file %s", o.ClientTLSRootCAFile)
		}
	}
	return config, nil
}
