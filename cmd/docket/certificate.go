package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/docket-orders/docket/eventstore/esdbserver"
)

// A self-made certificate is kept in the data folder, so that clients trust the
// same one after a restart. It is its own authority.
const (
	certificateFile = "esdb-tls.crt" // what clients are told as tlsCaFile=
	keyFile         = "esdb-tls.key"
	// certificateRest is for how long a kept certificate must still be good.
	certificateRest = 60 * 24 * time.Hour
)

// selfMade is the certificate in the folder, or a new one where that is not good
// for these hosts any more, and the file that clients trust.
func selfMade(dir string, hosts []string, now time.Time) (certificate tls.Certificate, file string, err error) {
	file = filepath.Join(dir, certificateFile)
	kept, err := tls.LoadX509KeyPair(file, filepath.Join(dir, keyFile))
	if err == nil && goodFor(kept.Leaf, hosts, now) {
		return kept, file, nil
	}
	certificate, caPEM, err := esdbserver.SelfSigned(hosts)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("self-made certificate: %w", err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err == nil {
		err = errors.Join(
			replaceFile(filepath.Join(dir, keyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600),
			replaceFile(file, caPEM, 0o644))
	}
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("keep the self-made certificate: %w", err)
	}
	return certificate, file, nil
}

func goodFor(certificate *x509.Certificate, hosts []string, now time.Time) bool {
	for _, host := range hosts {
		if certificate.VerifyHostname(host) != nil {
			return false
		}
	}
	return now.After(certificate.NotBefore) && now.Add(certificateRest).Before(certificate.NotAfter)
}

// replaceFile writes a file whole or not at all.
func replaceFile(path string, content []byte, mode os.FileMode) error {
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) { // its mode would stay
		return err
	}
	if err := os.WriteFile(next, content, mode); err != nil {
		return err
	}
	return os.Rename(next, path)
}
