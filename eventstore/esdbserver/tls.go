package esdbserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"
)

// selfSignedFor is how long a self-made certificate is valid.
const selfSignedFor = 365 * 24 * time.Hour

// LoadTLS is the configuration of a server with a given certificate: two files
// in PEM, the certificate's followed by those that signed it.
func LoadTLS(certFile, keyFile string) (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate %s with key %s: %w", certFile, keyFile, err)
	}
	return &tls.Config{Certificates: []tls.Certificate{certificate}}, nil
}

// SelfSigned makes a certificate for the hosts, names or addresses, and for
// localhost, 127.0.0.1 and ::1. Clients that are given caPEM as the authority
// to trust (tlsCaFile) accept it, for a year.
func SelfSigned(hosts []string) (certificate tls.Certificate, caPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("make a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("make a serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "docket event store", Organization: []string{"docket"}},
		// Clocks of clients may be behind.
		NotBefore:   time.Now().Add(-time.Hour),
		NotAfter:    time.Now().Add(selfSignedFor),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		// It is its own authority: clients can take it from the port and trust it.
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	named := slices.Concat([]string{"localhost", "127.0.0.1", "::1"}, hosts)
	slices.Sort(named)
	for _, host := range slices.Compact(named) {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if host != "" {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("sign a certificate for %v: %w", named, err)
	}
	caPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, caPEM, nil
}
