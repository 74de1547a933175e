package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/pki"

	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
)

// A story is requests and their answers, one file of testdata each:
//
//	SERVICE METHOD TARGET          a signed request; ${name} is a variable
//	Header: value
//	{"body": 1}
//	----
//	200 {"answer": 1}              written by UPDATE=1 go test
//
//	let NAME member.member         keeps a member of the latest answer
//	pass 10s                       lets time go by
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	seen := map[string]bool{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			f := newFixture(t, nil)
			s := &story{t: t, f: f, vars: f.material(t), seen: seen}
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			got := s.tell(string(raw))
			if os.Getenv("UPDATE") != "" {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
				return
			}
			want, is := strings.Split(string(raw), "\n"), strings.Split(got, "\n")
			for i := range min(len(want), len(is)) {
				require.Equal(t, want[i], is[i], "line %d; UPDATE=1 go test writes what is answered now", i+1)
			}
			require.Len(t, is, len(want))
			f.replay()
		})
	}
	for service, list := range operations {
		for _, o := range list {
			require.True(t, seen[service+" "+o.name], "no story has %s %s", service, o.name)
		}
	}
}

// material is what clients bring along: a code-signing certificate with its
// key and a certificate signing request.
func (f *fixture) material(t testing.TB) map[string]string {
	der, key, err := f.core.c.PKI().CodeSigner("firmware", nil)
	require.NoError(t, err)
	sec1, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	csr, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{}, key)
	require.NoError(t, err)
	quote := func(b *pem.Block) string {
		q, err := json.Marshal(string(pem.EncodeToMemory(b)))
		require.NoError(t, err)
		return string(q)
	}
	return map[string]string{
		"signer.pem.b64": base64.StdEncoding.EncodeToString([]byte(pki.PEM(der))),
		"signer.key.b64": base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})),
		"signer.pem":     quote(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"csr":            quote(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}),
		"policy":         strings.ReplaceAll(f.core.c.OTAPolicy(), `"`, `\"`),
	}
}

type story struct {
	t    *testing.T
	f    *fixture
	vars map[string]string
	seen map[string]bool
	last any
}

func (s *story) tell(script string) string {
	var out []string
	for _, block := range strings.Split(strings.TrimSpace(script), "\n\n") {
		question, _, _ := strings.Cut(block, "\n----")
		lines := strings.Split(question, "\n")
		text := question
		switch word, rest, _ := strings.Cut(lines[0], " "); word {
		case "#":
		case "let":
			name, path, _ := strings.Cut(rest, " ")
			v := s.last
			for _, member := range strings.Split(path, ".") {
				m, ok := v.(map[string]any)
				require.True(s.t, ok, "%s: no member %s", lines[0], member)
				v = m[member]
			}
			require.NotNil(s.t, v, lines[0])
			s.vars[name] = fmt.Sprint(v)
		case "pass":
			d, err := time.ParseDuration(rest)
			require.NoError(s.t, err)
			s.f.core.pass(d)
		default:
			text += "\n----\n" + s.ask(lines)
		}
		out = append(out, text)
	}
	return strings.Join(out, "\n\n") + "\n"
}

func (s *story) ask(lines []string) string {
	line := strings.Fields(s.expand(lines[0]))
	require.Len(s.t, line, 3, lines[0])
	var header []string
	body := ""
	for _, l := range lines[1:] {
		if name, value, ok := strings.Cut(l, ": "); ok && !strings.HasPrefix(l, "{") && body == "" && !strings.Contains(name, "<") {
			header = append(header, name, s.expand(value))
			continue
		}
		body += s.expand(l)
	}
	s.note(line[0], line[1], line[2])
	resp := s.f.signed(line[0], line[1], line[2], body, header...)
	answer := fmt.Sprint(resp.StatusCode)
	if e := resp.Header.Get("X-Amzn-ErrorType"); e != "" {
		answer += " " + e
	}
	if line[0] == S3 {
		if v := resp.Header.Get("X-Amz-Version-Id"); v != "" {
			s.vars["version"] = v
			answer += " version"
		}
		if b := text(s.t, resp); b != "" {
			answer += "\n" + strings.TrimSpace(b)
		}
		return answer
	}
	if b := shape(s.t, resp); b != "" {
		require.NoError(s.t, json.Unmarshal([]byte(b), &s.last))
		answer += "\n" + b
	}
	return answer
}

// note remembers which operation a story has used.
func (s *story) note(service, method, target string) {
	path, _, _ := strings.Cut(target, "?")
	for _, o := range operations[service] {
		if _, ok := match(o.path, strings.Split(path[1:], "/")); ok && o.method == method {
			s.seen[service+" "+o.name] = true
			return
		}
	}
}

func (s *story) expand(text string) string {
	for name, v := range s.vars {
		text = strings.ReplaceAll(text, "${"+name+"}", v)
	}
	return text
}

// replay repeats the recorded calls on another cloud, which must then answer
// every listing alike.
func (f *fixture) replay() {
	other := newFixture(f.t, nil)
	for _, r := range f.core.calls {
		other.core.pass(r.at.Sub(other.core.now))
		require.NoError(f.t, Replay(r.at, other.core.c, other.opt, &r.call), "%s %s", r.call.Method, r.call.Target)
		other.core.c.Wake(r.at)
	}
	other.core.pass(f.core.now.Sub(other.core.now))
	for _, q := range [][2]string{{IoT, "/things"}, {IoT, "/thing-groups"}, {IoT, "/certificates"}, {IoT, "/policies"}, {IoT, "/jobs"}, {IoT, "/event-configurations"}, {IoT, "/streams"},
		{IoT, "/otaUpdates"}, {IoT, "/indexing/config"}, {IoT, "/provisioning-templates"}, {IoT, "/provisioning-templates/fleet/versions"}, {IoT, "/thing-groups/rest/things"}, {IoT, "/jobs/upgrade/things"}, {IoTData, "/things/b/shadow"},
		{Signer, "/signing-profiles"}, {Signer, "/signing-jobs"}, {S3, "/firmware?versions"}} {
		want, got := f.signed(q[0], http.MethodGet, q[1], ""), other.signed(q[0], http.MethodGet, q[1], "")
		require.Equal(f.t, text(f.t, want), text(f.t, got), q[1])
	}
}

// The table of the documentation has every operation.
func TestCoverageTable(t *testing.T) {
	doc, err := os.ReadFile("../../docs/aws-coverage.md")
	require.NoError(t, err)
	words := strings.FieldsFunc(string(doc), func(r rune) bool {
		return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", r)
	})
	for _, list := range operations {
		for _, o := range list {
			require.Contains(t, words, o.name)
		}
	}
}
