package sim

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/otasim/otasim/flashmodel/nvs"
)

// A SetupError says what a fleet for somebody else's endpoint lacks, and what helps.
// It is one of the environment.
type SetupError struct {
	Err    error
	Remedy string
}

func (e *SetupError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *SetupError) Unwrap() error { return e.Err }

// Environment tells this kind of error from faults of the simulator.
func (e *SetupError) Environment() bool { return true }

// Help says what to do about it.
func (e *SetupError) Help() string { return e.Remedy }

func lacks(remedy, format string, args ...any) error {
	return &SetupError{fmt.Errorf(format, args...), remedy}
}

// Where the certificate and the key of a thing are, in the order in which they are
// looked for: as the guides to aws iot create-keys-and-certificate name them, as the
// console does, and a folder for each thing.
var (
	certificateFiles = []string{"%s.cert.pem", "%s.certificate.pem.crt", "%s-certificate.pem.crt", "%s/cert.pem"}
	keyFiles         = []string{"%s.private.key", "%s.private.pem.key", "%s-private.pem.key", "%s/key.pem", "%s/private.key"}
)

const certificateLayout = "expected THING.cert.pem and THING.private.key, as aws iot create-keys-and-certificate writes with --certificate-pem-outfile and --private-key-outfile"

// maxCertificate bounds what is read of a file that should be a certificate or a key.
const maxCertificate = 1 << 20

// ThingsOf lists the things that a directory has certificates for, by name, those
// whose name begins with prefix.
func ThingsOf(dir, prefix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, lacks(certificateLayout, "certificates: %w", err)
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() {
			if _, err := os.Stat(filepath.Join(dir, name, "cert.pem")); err != nil {
				continue
			}
		} else {
			i := slices.IndexFunc(certificateFiles, func(f string) bool { return strings.HasSuffix(name, strings.TrimPrefix(f, "%s")) })
			if i < 0 {
				continue
			}
			name = strings.TrimSuffix(name, strings.TrimPrefix(certificateFiles[i], "%s"))
		}
		if name != "" && strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// ReadNames reads thing names from a file, one a line; empty lines and those that
// begin with # do not count.
func ReadNames(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, lacks("a file with the name of a thing on each line", "names: %w", err)
	}
	defer f.Close()
	var names []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name := strings.TrimSpace(lines.Text()); name != "" && !strings.HasPrefix(name, "#") {
			names = append(names, name)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("names: %s: %w", path, err)
	}
	return names, nil
}

// identitiesOf reads those of several things. The error has what is wrong with the first of them, and how many others lack
// something.
func identitiesOf(dir string, things []string) ([]nvs.Identity, error) {
	ids := make([]nvs.Identity, len(things))
	var first error
	var others []string
	for i, name := range things {
		id, err := identityOf(dir, name)
		switch ids[i] = id; {
		case err == nil:
		case first == nil:
			first = err
		default:
			others = append(others, name)
		}
	}
	var e *SetupError
	if len(others) == 0 || !errors.As(first, &e) {
		return ids, first
	}
	text := strings.Join(others[:min(len(others), 5)], ", ")
	if n := len(others) - 5; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return nil, lacks(e.Remedy, "%w; %d of %d things in %s are not complete: also %s", e.Err, len(others)+1, len(things), dir, text)
}

// identityOf reads the certificate and the key of a thing, as PEM.
func identityOf(dir, thing string) (id nvs.Identity, err error) {
	id.ThingName = thing
	var paths []string
	for _, what := range []struct {
		name  string
		files []string
		to    *[]byte
	}{{"certificate", certificateFiles, &id.Certificate}, {"private key", keyFiles, &id.Key}} {
		path := ""
		for _, f := range what.files {
			p := filepath.Join(dir, fmt.Sprintf(f, thing))
			if info, err := os.Stat(p); err == nil && info.Size() <= maxCertificate {
				path = p
				break
			}
		}
		if path == "" {
			return id, lacks(certificateLayout, "thing %s: no %s at %s", thing, what.name, filepath.Join(dir, fmt.Sprintf(what.files[0], thing)))
		}
		paths = append(paths, path)
		if *what.to, err = os.ReadFile(path); err != nil {
			return id, lacks("make it readable", "thing %s: %w", thing, err)
		}
		if block, _ := pem.Decode(*what.to); block == nil {
			return id, lacks(certificateLayout, "thing %s: %s is not PEM", thing, path)
		}
	}
	if _, err := tls.X509KeyPair(id.Certificate, id.Key); err != nil {
		return id, lacks("take both files from the same answer of aws iot create-keys-and-certificate", "thing %s: %s and %s: %w", thing, paths[0], paths[1], err)
	}
	return id, nil
}

// certificateIn reads a file that must hold a certificate.
func certificateIn(path, what, remedy string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, lacks(remedy, "%s: %w", what, err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, lacks(remedy, "%s: %s: %w", what, path, errors.New("no PEM certificate"))
	}
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		return nil, lacks(remedy, "%s: %s: %w", what, path, err)
	}
	return text, nil
}
