package vectors

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/otasim/otasim/device/agent"
)

// document is a job document as the vectors spell it: text, hex, or a reference to the shared documents.
type document struct {
	Ref    string
	Doc    string
	DocHex *string `json:"doc_hex"`
	Hex    *string
}

func (d *document) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &d.Doc)
	}
	type plain document
	return json.Unmarshal(b, (*plain)(d))
}

func (d *document) bytes() ([]byte, error) {
	for _, h := range []*string{d.DocHex, d.Hex} {
		if h != nil {
			return hex.DecodeString(*h)
		}
	}
	return []byte(d.Doc), nil
}

// documents are the documents of a trace.
func (t *Tables) documents(list []document) ([][]byte, error) {
	docs := make([][]byte, len(list))
	for i := range list {
		d := &list[i]
		if d.Ref != "" {
			shared, ok := t.Documents[d.Ref]
			if !ok {
				return nil, fmt.Errorf("%w: no document %q", ErrSkip, d.Ref)
			}
			d = &shared
		}
		var err error
		if docs[i], err = d.bytes(); err != nil {
			return nil, err
		}
	}
	return docs, nil
}

// replayJobDocument delivers one document to a fresh agent of every profile that the vector has an answer of.
func replayJobDocument(_ *Tables, line json.RawMessage) error {
	var d document
	if err := json.Unmarshal(line, &d); err != nil {
		return err
	}
	var answers struct{ Agent, Parse map[string]json.RawMessage }
	if err := json.Unmarshal(line, &answers); err != nil {
		return err
	}
	doc, err := d.bytes()
	if err != nil {
		return err
	}
	for _, p := range agent.Profiles {
		if want := resolve(answers.Agent, p.Name); want != nil {
			if err := compareJob(p, doc, want); err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
		}
		if want := resolve(answers.Parse, p.Name); want != nil && !p.Task2018 {
			if err := compareReading(p, doc, want); err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
		}
	}
	return nil
}

// resolve follows a string value, the name of another profile with the same answer.
func resolve(answers map[string]json.RawMessage, name string) json.RawMessage {
	for range len(answers) {
		raw, ok := answers[name]
		if !ok || json.Unmarshal(raw, &name) != nil {
			return raw
		}
	}
	return nil
}

func compareJob(p *agent.Profile, doc []byte, answer json.RawMessage) error {
	var want struct {
		O     []any
		S     string
		Job   *string
		Img   agent.ImageState
		Rem   uint32
		Crash int
	}
	if err := json.Unmarshal(answer, &want); err != nil {
		return err
	}
	c := defaultTrace(p)
	c.Log2 = 12
	r := newRig(p, c, 0)
	r.a.Initialise(r)
	r.a.Signal(r, agent.Start, nil)
	r.a.Process(r, -1)
	r.out = nil
	r.a.Signal(r, agent.ReceivedJobDocument, doc)
	r.a.Process(r, -1)
	if (want.Crash != 0) != (r.a.Crash != "") {
		return fmt.Errorf("%w: crash %q, want %d", errState, r.a.Crash, want.Crash)
	}
	if len(r.out)+len(want.O) > 0 && !same(r.out, want.O) {
		return fmt.Errorf("%w: %v, want %v", errOutput, r.out, want.O)
	}
	v := r.a.View()
	if want.Crash == 0 && (v.State.String() != want.S || want.Job != nil && v.Job != *want.Job || v.Image != want.Img || v.Remaining != want.Rem) {
		return fmt.Errorf("%w: %+v, want %s", errState, v, answer)
	}
	return nil
}

func compareReading(p *agent.Profile, doc []byte, answer json.RawMessage) error {
	var want struct {
		Valid     int `json:"json_valid"`
		Err       agent.ParseErr
		Received  uint32
		Job       string
		Stream    string
		Size      uint32
		FileID    uint32 `json:"file_id"`
		Attr      uint32
		Type      uint32
		UpdatedBy uint32 `json:"updated_by"`
		SelfTest  int    `json:"self_test"`
		SigLen    int    `json:"sig_len"`
		Sig       string
	}
	got := want
	if err := json.Unmarshal(answer, &want); err != nil {
		return err
	}
	r := agent.ReadDocument(doc, p)
	f, sum := &r.File, sha256.Sum256(r.File.Signature)
	got.Err, got.Received, got.Job, got.Stream, got.Size, got.FileID = r.Err, r.Received, f.JobID, f.Stream.S, f.Size, f.ID
	got.Attr, got.Type, got.UpdatedBy, got.SigLen, got.Sig = f.Attr, f.Type, f.UpdatedBy, len(f.Signature), hex.EncodeToString(sum[:4])
	if r.JSON {
		got.Valid = 1
	}
	if f.SelfTest {
		got.SelfTest = 1
	}
	if got != want {
		return fmt.Errorf("%w: read %+v, want %+v", errOutput, got, want)
	}
	return nil
}
