package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
)

// RawPath is the path of a request as its line spells it.
func RawPath(r *http.Request) string {
	path := r.URL.EscapedPath()
	if strings.HasPrefix(r.RequestURI, "/") {
		path, _, _ = strings.Cut(r.RequestURI, "?")
	}
	if path == "" {
		return "/"
	}
	return path
}

// canonical writes the canonical request.
func canonical(r *http.Request, s Signature) string {
	payload := s.Payload
	switch {
	case s.Presigned && payload == "":
		payload = UnsignedPayload
	case payload == "":
		payload = EmptyPayload
	}
	path := RawPath(r)
	if s.Service == "s3" {
		if plain, err := url.PathUnescape(path); err == nil {
			path = plain
		}
	} else {
		path = clean(path)
	}
	var b strings.Builder
	b.WriteString(r.Method + "\n" + Escape(path, true) + "\n")
	q := query(r)
	sort.SliceStable(q, func(i, j int) bool {
		return q[i].name < q[j].name || q[i].name == q[j].name && q[i].value < q[j].value
	})
	first := true
	for _, p := range q {
		if s.Presigned && p.name == "X-Amz-Signature" {
			continue
		}
		if !first {
			b.WriteByte('&')
		}
		first = false
		b.WriteString(p.name + "=" + p.value)
	}
	b.WriteByte('\n')
	for _, name := range s.Headers {
		b.WriteString(name + ":" + header(r, name) + "\n")
	}
	b.WriteString("\n" + strings.Join(s.Headers, ";") + "\n" + payload)
	return b.String()
}

// EmptyPayload is the SHA-256 of nothing.
const EmptyPayload = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// Payload is the hexadecimal SHA-256 of a body.
func Payload(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// header is the canonical value of a header: trimmed, runs of blanks as one,
// several values joined by commas.
func header(r *http.Request, name string) string {
	values := r.Header.Values(name)
	switch {
	case name == "host":
		host := r.Host
		if host == "" {
			host = r.URL.Host
		}
		return host
	case name == "content-length" && len(values) == 0:
		return strconv.FormatInt(max(r.ContentLength, 0), 10)
	}
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = strings.Join(strings.Fields(v), " ")
	}
	return strings.Join(out, ",")
}

type pair struct{ name, value string } // encoded

type pairs []pair

// query takes a raw query apart; names and values are in canonical encoding.
func query(r *http.Request) pairs {
	var out pairs
	for _, part := range strings.Split(r.URL.RawQuery, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		out = append(out, pair{reencode(name), reencode(value)})
	}
	return out
}

// get returns the decoded value of a name without special characters.
func (q pairs) get(name string) string {
	for _, p := range q {
		if p.name == name {
			v, err := url.PathUnescape(p.value)
			if err != nil {
				return p.value
			}
			return v
		}
	}
	return ""
}

func reencode(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		s = plain
	}
	return Escape(s, false)
}

// Escape percent-encodes every byte but letters, digits, - . _ ~ and, with
// slash, the slash.
func Escape(s string, slash bool) string {
	const digits = "0123456789ABCDEF"
	n := 0
	for i := 0; i < len(s); i++ {
		if !plain(s[i], slash) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	b := make([]byte, 0, len(s)+2*n)
	for i := 0; i < len(s); i++ {
		if c := s[i]; plain(c, slash) {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return string(b)
}

func plain(c byte, slash bool) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~' || slash && c == '/'
}

// clean removes empty and dot segments as RFC 3986, section 5.2.4, and keeps
// a slash at the end.
func clean(path string) string {
	var out []string
	parts := strings.Split(path, "/")
	for _, p := range parts {
		switch p {
		case "", ".":
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, p)
		}
	}
	last := parts[len(parts)-1]
	s := "/" + strings.Join(out, "/")
	if len(out) > 0 && (last == "" || last == "." || last == "..") {
		s += "/"
	}
	return s
}
