package api

import (
	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/pki"
	"github.com/otasim/otasim/cloud/registry"
)

var certificateOperations = []operation{
	{"POST", "/keys-and-certificate", "CreateKeysAndCertificate", createKeysAndCertificate},
	{"POST", "/certificates", "CreateCertificateFromCsr", createCertificateFromCSR},
	{"POST", "/certificate/register-no-ca", "RegisterCertificateWithoutCA", registerCertificateWithoutCA},
	{"GET", "/certificates/{id}", "DescribeCertificate", describeCertificate},
	{"PUT", "/certificates/{id}", "UpdateCertificate", updateCertificate},
	{"DELETE", "/certificates/{id}", "DeleteCertificate", deleteCertificate},
	{"GET", "/certificates", "ListCertificates", listCertificates},
}

func createKeysAndCertificate(q *request) (any, error) {
	active, err := q.flag("setAsActive")
	if err != nil {
		return nil, err
	}
	return q.c.CreateKeysAndCertificate(q.now, active)
}

func createCertificateFromCSR(q *request) (any, error) {
	active, err := q.flag("setAsActive")
	if err != nil {
		return nil, err
	}
	var b struct {
		CSR string `json:"certificateSigningRequest"`
	}
	if err := q.body(&b); err != nil {
		return nil, err
	}
	return q.c.CreateCertificateFromCSR(q.now, b.CSR, active)
}

func registerCertificateWithoutCA(q *request) (any, error) {
	var b struct {
		CertificatePEM string `json:"certificatePem"`
		Status         string `json:"status"`
	}
	if err := q.body(&b); err != nil {
		return nil, err
	}
	der, err := pki.ParsePEM(b.CertificatePEM)
	if err != nil {
		return nil, aws.CertificateValidation.Because("certificatePem: %v", err)
	}
	return q.c.RegisterCertificateWithoutCA(q.now, der, b.Status)
}

func describeCertificate(q *request) (any, error) {
	d, err := q.c.DescribeCertificate(q.params["id"])
	return struct {
		CertificateDescription registry.CertificateDescription `json:"certificateDescription"`
	}{d}, err
}

func updateCertificate(q *request) (any, error) {
	return nil, q.c.UpdateCertificate(q.now, q.params["id"], q.query.Get("newStatus"))
}

func deleteCertificate(q *request) (any, error) {
	force, err := q.flag("forceDelete")
	if err != nil {
		return nil, err
	}
	return nil, q.c.DeleteCertificate(q.params["id"], force)
}

// markers reads the members that page listings of certificates and policies.
func (q *request) markers() (size int, marker string, err error) {
	n, err := q.number("pageSize")
	if err == nil && q.query.Has("pageSize") && (n < 1 || n > 250) {
		err = aws.InvalidRequest.Because("pageSize %d: want 1 to 250", n)
	}
	return int(n), q.query.Get("marker"), err
}

func listCertificates(q *request) (any, error) {
	n, marker, err := q.markers()
	if err != nil {
		return nil, err
	}
	all := q.c.Registry().ListCertificates()
	rows, next, err := cut(all, n, marker)
	return struct {
		Certificates []registry.CertificateSummary `json:"certificates"`
		NextMarker   *string                       `json:"nextMarker,omitempty"`
	}{rows, next}, err
}
