package dump

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strconv"
	"strings"

	"github.com/otasim/otasim/flashmodel/nvs"
	"github.com/otasim/otasim/flashmodel/partition"
)

// Values up to this many bytes are shown.
const (
	shownText = 64
	shownBlob = 16
)

// secretNames are parts of keys whose values are never shown.
var secretNames = []string{"key", "pass", "pwd", "pswd", "psk", "pmk", "secret", "token", "private", "cred"}

// nvsKeys reads the first key partition; nil if there is none in plain text.
func (d *Dump) nvsKeys(t partition.Table) *nvs.Keys {
	r, ok := t.FindFirst(partition.TypeData, partition.SubtypeNVSKeys)
	if !ok {
		return nil
	}
	k, err := nvs.ParseKeys(d.region(r.Offset, r.Size))
	if err != nil {
		return nil
	}
	return k
}

// nvs lists a partition as the device would find it after its repairs.
func (d *Dump) nvs(r partition.Record, keys *nvs.Keys) *NVS {
	p, code := nvs.Inspect(d.Flash, r.Offset, r.Size, nil)
	out := &NVS{Namespaces: []NVSNamespace{}}
	if keys != nil {
		// entries in plain text are refused with keys, and the other way round
		if q, c := nvs.Inspect(d.Flash, r.Offset, r.Size, keys); c == nvs.OK && (code != nvs.OK || len(q.Items()) > len(p.Items())) {
			p, code, out.Encrypted = q, c, true
		}
	}
	if code != nvs.OK {
		out.Error = fmt.Sprintf("the device cannot open it: %s", code.Error())
		return out
	}
	s := p.Stats()
	out.Used, out.Total = s.Used, s.Total
	places := map[string]int{}
	for _, item := range p.Items() {
		name := item.Namespace
		if name == "" {
			name = fmt.Sprintf("(namespace %d without a name)", item.Index)
		}
		i, ok := places[name]
		if !ok {
			i = len(out.Namespaces)
			places[name] = i
			out.Namespaces = append(out.Namespaces, NVSNamespace{Name: name})
		}
		out.Namespaces[i].Keys = append(out.Namespaces[i].Keys, describeItem(p, item))
	}
	return out
}

func describeItem(p *nvs.Partition, item nvs.Item) NVSKey {
	k := NVSKey{Key: item.Key, Type: item.Type.String(), Size: item.Size}
	h, code := p.Namespace(item.Namespace, false)
	if item.Namespace == "" || code != nvs.OK {
		return k
	}
	var content []byte
	switch item.Type {
	case nvs.String:
		text, c := h.GetString(item.Key)
		content, code = []byte(text), c
	case nvs.Blob:
		content, code = h.GetBlob(item.Key)
	default:
		k.Value, code = number(h, item)
	}
	switch {
	case code != nvs.OK:
		k.Note = code.Error()
	case isSecret(item.Key):
		k.Value = ""
		k.Note = strings.TrimSpace(describeKey(content) + " (not shown)")
	case describeKey(content) != "":
		k.Note = describeKey(content) + " (not shown)"
	case content != nil:
		k.Value, k.Note = shown(item.Type, content)
	}
	return k
}

func number(h nvs.Handle, item nvs.Item) (string, nvs.Err) {
	var v int64
	var code nvs.Err
	switch item.Type {
	case nvs.U8:
		n, c := h.GetU8(item.Key)
		v, code = int64(n), c
	case nvs.I8:
		n, c := h.GetI8(item.Key)
		v, code = int64(n), c
	case nvs.U16:
		n, c := h.GetU16(item.Key)
		v, code = int64(n), c
	case nvs.I16:
		n, c := h.GetI16(item.Key)
		v, code = int64(n), c
	case nvs.U32:
		n, c := h.GetU32(item.Key)
		v, code = int64(n), c
	case nvs.I32:
		n, c := h.GetI32(item.Key)
		v, code = int64(n), c
	case nvs.U64:
		n, c := h.GetU64(item.Key)
		return strconv.FormatUint(n, 10), c
	case nvs.I64:
		v, code = h.GetI64(item.Key)
	}
	return strconv.FormatInt(v, 10), code
}

func isSecret(key string) bool {
	lower := strings.ToLower(key)
	for _, s := range secretNames {
		if strings.Contains(lower, s) {
			return true
		}
	}
	return false
}

// describeKey recognizes private keys, in PEM or DER, whatever they are stored as.
func describeKey(content []byte) string {
	if bytes.Contains(content, []byte("PRIVATE KEY")) {
		return "private key"
	}
	der := bytes.TrimRight(content, "\x00")
	if _, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return "private key"
	}
	if _, err := x509.ParseECPrivateKey(der); err == nil {
		return "private key"
	}
	if _, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return "private key"
	}
	return ""
}

// shown gives a small value, or a note about a certificate.
func shown(typ nvs.Type, content []byte) (value, note string) {
	der := content
	if block, _ := pem.Decode(content); block != nil {
		der = block.Bytes
	}
	if cert, err := x509.ParseCertificate(der); err == nil {
		sum := sha256.Sum256(cert.Raw)
		return "", fmt.Sprintf("certificate of %s, SHA-256 %s", cert.Subject, hex.EncodeToString(sum[:]))
	}
	switch {
	case typ == nvs.String && len(content) <= shownText:
		return strconv.Quote(string(content)), ""
	case typ == nvs.Blob && len(content) <= shownBlob:
		return hex.EncodeToString(content), ""
	}
	return "", ""
}
