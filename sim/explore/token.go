package explore

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/otasim/otasim/sim/scenario"
)

// Case is a scenario file, what is changed in it, and what is done to it while it runs.
type Case struct {
	File    string   `json:"f"`           // path of the scenario file
	Hash    string   `json:"h"`           // the first 16 hex digits of its SHA-256
	Variant string   `json:"v,omitempty"` // of the file
	Seed    uint64   `json:"s"`
	Devices int      `json:"n,omitempty"` // as --devices, 0: as the file says
	Sets    []string `json:"o,omitempty"` // as --set, in order
	Bare    bool     `json:"b,omitempty"` // without the file's own faults, attacks and assertions
	Defects string   `json:"d,omitempty"` // planted defects by id, separated by commas
	Acts    string   `json:"a,omitempty"` // see Act
	Trace   string   `json:"t,omitempty"` // the first 16 hex digits of the trace hash
}

// Prefix begins every token.
const Prefix = "ota1-"

// ErrToken is wrapped by errors about a token.
var ErrToken = errors.New("not a replay token")

// Token is the case in one word: JSON, deflated, base64url.
func (c *Case) Token() string {
	text, err := json.Marshal(c)
	if err != nil {
		panic(fmt.Sprintf("explore: %v", err)) // strings and numbers always marshal
	}
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression) // the level is a valid one
	_, _ = w.Write(text)                               // a bytes.Buffer takes everything
	_ = w.Close()
	return Prefix + base64.RawURLEncoding.EncodeToString(b.Bytes())
}

// maxToken bounds what a token may unpack to.
const maxToken = 1 << 20

// ParseToken reads a token.
func ParseToken(s string) (*Case, error) {
	s, ok := strings.CutPrefix(strings.TrimSpace(s), Prefix)
	if !ok {
		return nil, fmt.Errorf("%w: it begins with %s", ErrToken, Prefix)
	}
	packed, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	text, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), maxToken))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	var c Case
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if _, err := ParseActs(c.Acts); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	return &c, nil
}

// ErrChanged says that the scenario file is not the one the token was made from.
var ErrChanged = errors.New("the scenario file has changed since the token was made")

// FileHash is the hash of a scenario file as a Case has it.
func FileHash(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))[:16], nil
}

// Load reads the case's scenario. A file that is not the one the token was made from is
// an error wrapping ErrChanged, next to a scenario that can still be tried.
func (c *Case) Load() (*scenario.Scenario, error) {
	hash, err := FileHash(c.File)
	if err != nil {
		return nil, err
	}
	sc, problems, err := scenario.Load(c.File, scenario.Options{Sets: c.Sets, Devices: c.Devices, Seed: &c.Seed, Variant: c.Variant})
	switch {
	case err != nil:
		return nil, err
	case sc == nil && len(problems) > 0:
		return nil, fmt.Errorf("%s", problems[0])
	case sc == nil:
		return nil, fmt.Errorf("%s: no scenario", c.File)
	}
	if c.Variant != "" {
		sc.Variants = nil
	}
	if c.Bare {
		Strip(sc)
	}
	if hash != c.Hash {
		return sc, fmt.Errorf("%s: %w", c.File, ErrChanged)
	}
	return sc, nil
}

// Strip leaves of a scenario what an explorer builds on: fleet, cloud, updates and events.
func Strip(sc *scenario.Scenario) {
	sc.Faults, sc.Attacks, sc.Assertions, sc.Thresholds, sc.Variants = nil, nil, nil, nil, nil
}
