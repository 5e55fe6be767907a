package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// A self-made certificate: an authority, kept in the data folder so that
// clients trust the same one after a restart, signs a certificate that is made
// anew at every start for the names this machine is reached by.
const (
	authorityFile    = "esdb-ca.crt" // what clients are told as tlsCaFile=
	authorityKeyFile = "esdb-ca.key"
	authorityLife    = 10 * 365 * 24 * time.Hour
	// authorityRest is how long an authority must be good for to be used again:
	// longer than a process runs.
	authorityRest = 365 * 24 * time.Hour
)

// selfMade is a certificate for the hosts, and the file of its authority.
func selfMade(dir string, hosts []string, now time.Time) (tls.Certificate, string, error) {
	file := filepath.Join(dir, authorityFile)
	authority, key, err := loadAuthority(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && authority.NotAfter.Before(now.Add(authorityRest)) {
		authority, key, err = makeAuthority(dir, now)
	}
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("self-made certificate: %w", err)
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	form := x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "docket eventstore"},
		NotBefore: now.Add(-time.Hour), NotAfter: authority.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			form.IPAddresses = append(form.IPAddresses, ip)
		} else {
			form.DNSNames = append(form.DNSNames, host)
		}
	}
	signed, err := x509.CreateCertificate(rand.Reader, &form, authority, own.Public(), key)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("self-made certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{signed, authority.Raw}, PrivateKey: own}, file, nil
}

// loadAuthority fails with fs.ErrNotExist when there is none. What it reads was
// written by makeAuthority or by somebody else; an authority that is not whole
// is said, not replaced: clients were told to trust it.
func loadAuthority(dir string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, authorityFile), filepath.Join(dir, authorityKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s and %s in %s: %w; remove both, and new ones are made", authorityFile, authorityKeyFile, dir, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, nil, fmt.Errorf("%s in %s is not an authority that docket made; remove it and %s, and new ones are made", authorityFile, dir, authorityKeyFile)
	}
	return pair.Leaf, key, nil
}

func makeAuthority(dir string, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	form := x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "docket self-made authority"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(authorityLife),
		KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
	}
	signed, err := x509.CreateCertificate(rand.Reader, &form, &form, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	// The key first: a certificate without its key could not be used again.
	err = errors.Join(
		writePEM(filepath.Join(dir, authorityKeyFile), "PRIVATE KEY", private, 0o600),
		writePEM(filepath.Join(dir, authorityFile), "CERTIFICATE", signed, 0o644))
	if err != nil {
		return nil, nil, err
	}
	authority, err := x509.ParseCertificate(signed)
	return authority, key, err
}

func writePEM(path, kind string, content []byte, mode fs.FileMode) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // an old file keeps its mode
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), mode)
}

func serial() *big.Int {
	var number [16]byte
	_, _ = rand.Read(number[:]) // never fails
	number[0] &= 0x7f
	return new(big.Int).SetBytes(number[:])
}
