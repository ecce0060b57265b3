package lookupd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
)

// certificates are what this node shows other nodes and trusts of them. Both
// sides of a connection must present a certificate of the one authority.
type certificates struct {
	cert, key, ca string // files
	current       atomic.Pointer[tlsPair]
}

type tlsPair struct{ server, client *tls.Config }

func loadCertificates(cert, key, ca string) (*certificates, error) {
	c := &certificates{cert: cert, key: key, ca: ca}
	return c, c.reload()
}

// configs returns the configurations for accepting and for dialling.
func (c *certificates) configs() (server, client *tls.Config) {
	pair := c.current.Load()
	return pair.server, pair.client
}

func (c *certificates) reload() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("load raft certificate: %w", err)
	}
	pem, err := os.ReadFile(c.ca)
	if err != nil {
		return fmt.Errorf("load raft certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("load raft certificate authority %s: %w", c.ca, errors.New("no certificate in it"))
	}
	c.current.Store(&tlsPair{
		server: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert},
		client: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: pool},
	})
	return nil
}
