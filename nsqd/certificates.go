package nsqd

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"
)

// certificates are what this nsqd shows its clients and trusts of others. They may
// be reloaded at any time: connections made from then on have the new ones.
type certificates struct {
	// Read-only after loadCertificates.
	cert, key, rootCA string // files; "" for none
	minVersion        uint16
	clientAuth        tls.ClientAuthType
	listening         *tls.Config // points to current; nil without a certificate

	current atomic.Pointer[tlsConfigs]
}

type tlsConfigs struct {
	server *tls.Config // nil without a certificate
	client *tls.Config
}

// loadCertificates reads the files that o names; o must be valid.
func loadCertificates(o *Options) (*certificates, error) {
	c := &certificates{cert: o.TLSCert, key: o.TLSKey, rootCA: o.TLSRootCAFile, minVersion: uint16(o.TLSMinVersion)}
	switch o.TLSClientAuthPolicy {
	case "require":
		c.clientAuth = tls.RequireAnyClientCert
	case "require-verify":
		c.clientAuth = tls.RequireAndVerifyClientCert
	}
	if err := c.reload(); err != nil {
		return nil, err
	}
	if c.cert != "" {
		c.listening = &tls.Config{
			MinVersion: c.minVersion,
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
				return c.current.Load().server, nil
			},
		}
	}
	return c, nil
}

// server returns the configuration for clients of this nsqd, which follows
// reloads by itself; nil if there is no certificate, and so no TLS.
func (c *certificates) server() *tls.Config { return c.listening }

// client returns the configuration for dialling auth servers, to be asked for anew
// with each connection. It is shared: clone it before changing it.
func (c *certificates) client() *tls.Config { return c.current.Load().client }

// reload reads the files anew. On error what was read before stays.
func (c *certificates) reload() error {
	configs := &tlsConfigs{client: &tls.Config{MinVersion: c.minVersion}}
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return fmt.Errorf("failed to build TLS config - %w", err) // stock's
		}
		configs.server = &tls.Config{
			MinVersion:   c.minVersion,
			Certificates: []tls.Certificate{pair},
			ClientAuth:   c.clientAuth,
		}
	}
	if c.rootCA != "" {
		pem, err := os.ReadFile(c.rootCA)
		if err != nil {
			return fmt.Errorf("failed to build TLS config - %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return fmt.Errorf("failed to build TLS config - no certificate in %s", c.rootCA)
		}
		configs.client.RootCAs = pool
		if configs.server != nil {
			configs.server.ClientCAs = pool
		}
	}
	c.current.Store(configs)
	return nil
}
