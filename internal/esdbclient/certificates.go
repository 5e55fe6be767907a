package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// makeCertificates fills the folder certs that the client's tests look for
// beside them: the authority, the server's own certificate, that of a user, and
// an authority that signed nothing.
func makeCertificates(dir string) error {
	ca, err := newPair("authority of a test", nil)
	if err != nil {
		return err
	}
	untrusted, err := newPair("authority of nobody", nil)
	if err != nil {
		return err
	}
	node, err := newPair("docket", ca)
	if err != nil {
		return err
	}
	user, err := newPair("admin", ca)
	if err != nil {
		return err
	}
	for path, p := range map[string]*pair{"ca/ca": ca, "untrusted-ca/ca": untrusted, "node/node": node, "user-admin/user-admin": user} {
		if err := p.write(filepath.Join(dir, filepath.FromSlash(path))); err != nil {
			return err
		}
	}
	return nil
}

// pair is a certificate and its key.
type pair struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// newPair makes an authority, or with one somebody on this machine.
func newPair(name string, authority *pair) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		BasicConstraintsValid: true,
	}
	parent, signer := template, key
	if authority == nil {
		template.IsCA = true
		template.KeyUsage = x509.KeyUsageCertSign
	} else {
		parent, signer = authority.certificate, authority.key
		template.KeyUsage = x509.KeyUsageDigitalSignature
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		template.DNSNames = []string{"localhost"}
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", name, err)
	}
	certificate, err := x509.ParseCertificate(der)
	return &pair{certificate, key}, err
}

// write makes path.crt and path.key.
func (p *pair) write(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.certificate.Raw}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(path+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600)
}
