package ota

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/otasim/otasim/cloud/defect"
)

// SignatureKey is the member of the job document that carries a signature of
// the given algorithm: SHA256withECDSA becomes sig-sha256-ecdsa.
func SignatureKey(algorithm string) string {
	return "sig-" + strings.Replace(strings.ToLower(algorithm), "with", "-", 1)
}

// document writes the afr_ota job document.
func (s *Service) document(u *update) (string, error) {
	type file struct {
		FilePath   string `json:"filepath,omitempty"`
		FileSize   int    `json:"filesize"`
		FileID     int    `json:"fileid"`
		CertFile   string `json:"certfile,omitempty"`
		FileType   int    `json:"fileType"`
		DataURL    string `json:"update_data_url,omitempty"`
		AuthScheme string `json:"auth_scheme,omitempty"`
	}
	type document struct {
		Protocols  []string          `json:"protocols"`
		StreamName string            `json:"streamname,omitempty"`
		Files      []json.RawMessage `json:"files"`
	}
	// MQTT first: older parsers look at the first entry only.
	doc := document{StreamName: u.streamID}
	for _, p := range []string{"MQTT", "HTTP"} {
		if slices.Contains(u.req.Protocols, p) {
			doc.Protocols = append(doc.Protocols, p)
		}
	}
	for i := range u.files {
		r, f := &u.files[i], &u.req.Files[i]
		size := r.size
		if s.cfg.Defects.Has(defect.WrongSize) {
			size -= min(size, 4096)
		}
		out := file{FilePath: f.FileName, FileSize: size, FileID: r.fileID, CertFile: r.certfile, FileType: f.FileType}
		if slices.Contains(u.req.Protocols, "HTTP") {
			out.DataURL = "${aws:iot:s3-presigned-url:https://s3." + s.cfg.Realm.Region + ".amazonaws.com/" + r.object.Bucket + "/" + r.object.Key + "}"
			out.AuthScheme = "aws.s3.presigned"
		}
		body, err := encode(out)
		if err != nil {
			return "", err
		}
		if r.signature == "" {
			doc.Files = append(doc.Files, body)
			continue
		}
		sig, err := encode(map[string]string{SignatureKey(r.algorithm): r.signature})
		if err != nil {
			return "", err
		}
		doc.Files = append(doc.Files, append(append(body[:len(body)-1], ','), sig[1:]...))
	}
	b, err := encode(map[string]document{"afr_ota": doc})
	return string(b), err
}

// encode is json.Marshal without escaping <, > and &.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("ota: job document: %w", err)
	}
	return bytes.TrimSpace(b.Bytes()), nil
}
