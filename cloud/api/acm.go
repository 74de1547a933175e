package api

import (
	"strings"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/pki"
)

// acm carries out an operation of Certificate Manager, which is named by a
// header. Of the service there is what code signing needs.
func (q *request) acm() (any, error) {
	name, ok := strings.CutPrefix(q.call.Header.Get("X-Amz-Target"), "CertificateManager.")
	switch {
	case ok && name == "ImportCertificate":
		return importCertificate(q)
	case ok && name == "GetCertificate":
		return getCertificate(q)
	}
	return nil, errUnknown.Because("acm has no operation %.80q here.", name)
}

func importCertificate(q *request) (any, error) {
	var b struct {
		Certificate    []byte
		PrivateKey     []byte
		CertificateArn string
	}
	if err := q.body(&b); err != nil {
		return nil, err
	}
	if b.CertificateArn != "" {
		return nil, aws.Validation.Because("CertificateArn: an imported certificate cannot be replaced here")
	}
	der, err := pki.ParsePEM(string(b.Certificate))
	if err != nil {
		return nil, aws.Validation.Because("Certificate: %v", err)
	}
	key, err := pki.ParseKeyPEM(string(b.PrivateKey))
	if err != nil {
		return nil, aws.Validation.Because("PrivateKey: %v", err)
	}
	arn, err := q.c.ImportCertificate(der, key)
	return struct{ CertificateArn string }{arn}, err
}

func getCertificate(q *request) (any, error) {
	var b struct{ CertificateArn string }
	if err := q.body(&b); err != nil {
		return nil, err
	}
	text, err := q.c.Signer().Certificate(b.CertificateArn)
	return struct{ Certificate string }{text}, err
}
