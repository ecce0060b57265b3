package nsqd

import "crypto/tls"

// TODO(link): with their text forms, in validate.go.
type TLSRequired int
type TLSVersion uint16
type Percentiles []float64

const (
	tlsNotRequired     TLSRequired = iota
	tlsRequiredTCPOnly             // tcp-https
	tlsRequired
)
const tls12 = TLSVersion(tls.VersionTLS12)

func (r *TLSRequired) UnmarshalText(b []byte) error { panic("link") }
func (v *TLSVersion) UnmarshalText(b []byte) error  { panic("link") }
func (p *Percentiles) UnmarshalText(b []byte) error { panic("link") }
