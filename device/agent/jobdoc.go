package agent

import (
	"math"
	"slices"
)

// ParseErr is the outcome of reading a job document.
type ParseErr uint8

// The parser's outcomes.
const (
	ParseOK                     ParseErr = 0
	ParseOutOfMemory            ParseErr = 1
	ParseUserBufferInsufficient ParseErr = 2
	ParseBase64                 ParseErr = 4
	ParseInvalidNumber          ParseErr = 5
	ParseMalformed              ParseErr = 7
	ParseInvalidJSON            ParseErr = 8
	ParseEmptyJobDoc            ParseErr = 16
)

// The parameters of the document model, in the order they are looked for; each is a bit of the received bitmap.
const (
	paramClientToken = iota
	paramTimestamp
	paramExecution
	paramJobID
	paramStatusDetails
	paramSelfTest
	paramUpdatedBy
	paramJobDocument
	paramAFROTA
	paramStream
	paramProtocols
	paramFiles
	paramPath
	paramSize
	paramFileID
	paramCert
	paramURL
	paramAuth
	paramSignature
	paramAttr
	paramFileType
	paramCount
)

const requiredParams = 1<<paramExecution | 1<<paramJobID | 1<<paramJobDocument | 1<<paramAFROTA | 1<<paramProtocols |
	1<<paramFiles | 1<<paramSize | 1<<paramFileID

// The keys of the parameters, by the object they stand in.
var (
	rootKeys      = []string{"clientToken", "timestamp", "execution", "filepath", "filesize", "fileid", "certfile", "update_data_url", "auth_scheme", "sig-sha256-ecdsa", "attr", "fileType"}
	executionKeys = []string{"jobId", "statusDetails", "jobDocument"}
	detailsKeys   = []string{"self_test", "updatedBy"}
	documentKeys  = []string{"afr_ota"}
	otaKeys       = []string{"streamname", "protocols", "files"}
)

// found is the text of each parameter that a document has, nil for the rest.
type found [paramCount]jsonText

// lookUp finds the parameters. Those of a file are looked for at the root first, then in the first object of files. valid says
// that the whole text is valid JSON.
func lookUp(text jsonText, valid bool) (v found) {
	var root [12]jsonText
	text.members(rootKeys, root[:], valid)
	copy(v[paramClientToken:], root[:3])
	copy(v[paramPath:], root[3:])
	var at [3]jsonText
	v[paramExecution].members(executionKeys, at[:], valid)
	v[paramJobID], v[paramStatusDetails], v[paramJobDocument] = at[0], at[1], at[2]
	v[paramStatusDetails].members(detailsKeys, v[paramSelfTest:paramUpdatedBy+1], valid)
	v[paramJobDocument].members(documentKeys, v[paramAFROTA:paramAFROTA+1], valid)
	v[paramAFROTA].members(otaKeys, v[paramStream:paramFiles+1], valid)
	if files := v[paramFiles]; len(files) >= 2 {
		if files[0] == '"' {
			if files = files[1 : len(files)-1]; len(files) < 2 {
				return v
			}
			valid = false // what a string holds is any text
		}
		var file [paramCount - paramPath]jsonText
		files[1:len(files)-1].members(rootKeys[3:], file[:], valid)
		for i := range file {
			if v[paramPath+i] == nil {
				v[paramPath+i] = file[i]
			}
		}
	}
	return v
}

// Buffer sizes of the document model, terminating NUL included.
const (
	jobIDBuffer     = 73
	protocolsBuffer = 20
	pathBuffer      = 260
	streamBuffer    = 128
	urlBuffer       = 512
	authBuffer      = 64
)

// parsed is what a document said, for the decisions that follow.
type parsed struct {
	err      ParseErr
	received uint32
}

// parseDocument reads a job document into f, parameter by parameter, and stops at the first that does not fit. What
// the document does not mention stays as it was in f, which is how values of an earlier job survive.
func parseDocument(doc []byte, f *File, cfg *Config, alloc func(int) bool) parsed {
	var r parsed
	text := jsonText(doc)
	valid := text.valid()
	if !valid {
		r.err = ParseInvalidJSON
		if !cfg.Profile.TakesGarbage {
			return r
		}
	}
	values := lookUp(text, valid)
	for param, value := range values {
		if value == nil {
			continue
		}
		value = value.unquoted()
		r.received |= 1 << param
		var stored bool
		var err ParseErr
		if stored, err = storeParam(param, value, f, cfg, alloc); stored {
			r.err = err
		}
		if r.err != ParseOK && (stored || param == paramFiles) {
			return r // the list of files does not overwrite the verdict on the whole text, but looks at it
		}
	}
	if r.err == ParseOK {
		switch {
		case r.received == 1<<paramClientToken|1<<paramTimestamp && cfg.Profile.EmptyJobDoc:
			r.err = ParseEmptyJobDoc
		case r.received&requiredParams != requiredParams:
			r.err = ParseMalformed
		}
	}
	return r
}

func storeParam(param int, value jsonText, f *File, cfg *Config, alloc func(int) bool) (stored bool, err ParseErr) {
	number := func(dst *uint32) (bool, ParseErr) {
		v, ok := parseUint(value)
		*dst = v
		if !ok {
			return true, ParseInvalidNumber
		}
		return true, ParseOK
	}
	str := func(dst *Text, buffer int) (bool, ParseErr) {
		if cfg.HeapBuffers {
			if !alloc(len(value) + 1) {
				*dst = Text{Null: true}
				return true, ParseOutOfMemory
			}
		} else if len(value) >= buffer {
			return true, ParseUserBufferInsufficient
		}
		*dst = Text{S: cString(value)}
		return true, ParseOK
	}
	switch param {
	case paramJobID:
		if len(value) >= jobIDBuffer {
			return true, ParseUserBufferInsufficient
		}
		f.JobID = string(value)
		return true, ParseOK
	case paramSelfTest:
		f.SelfTest = cfg.Profile.SelfTestByPresence || isTestState(value)
		f.selfTestActive = string(value) == "active"
		return true, ParseOK
	case paramUpdatedBy:
		return number(&f.UpdatedBy)
	case paramStream:
		return str(&f.Stream, streamBuffer)
	case paramProtocols:
		if len(value) >= protocolsBuffer {
			return true, ParseUserBufferInsufficient
		}
		f.Protocols = Text{S: string(value)}
		return true, ParseOK
	case paramPath:
		return str(&f.Path, pathBuffer)
	case paramSize:
		return number(&f.Size)
	case paramFileID:
		return number(&f.ID)
	case paramCert:
		return str(&f.Cert, pathBuffer)
	case paramURL:
		return str(&f.URL, urlBuffer)
	case paramAuth:
		return str(&f.AuthScheme, authBuffer)
	case paramSignature:
		sig, ok := decodeBase64(value)
		if ok && len(sig) <= cfg.Profile.SignatureMax {
			f.Signature = sig
			return true, ParseOK
		}
		if cfg.Profile.KeepsOptionals { // what was decoded lies over the signature before it
			f.Signature = slices.Clone(f.Signature)
			copy(f.Signature, sig)
		}
		return true, ParseBase64
	case paramAttr:
		return number(&f.Attr)
	case paramFileType:
		return number(&f.Type)
	}
	return false, ParseOK
}

// isTestState reports whether a job's self_test is what the agent writes when an image is to be tested.
func isTestState(value []byte) bool { return string(value) == "ready" || string(value) == "active" }

func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// parseUint reads a number as the C library's strtoul with base 0 does: white space, sign, 0x, leading 0 for octal.
// It must end where the text ends. What was read so far is returned even if it does not.
func parseUint(b []byte) (uint32, bool) {
	v, whole, overflow := strtoul(b)
	return v, whole && !overflow
}

// parseLong is parseUint for a program that does not look whether the number was too large.
func parseLong(b []byte) (uint32, bool) {
	v, whole, _ := strtoul(b)
	return v, whole
}

func strtoul(b []byte) (value uint32, whole, overflowed bool) {
	i := 0
	for i < len(b) && (b[i] == ' ' || b[i] >= '\t' && b[i] <= '\r') {
		i++
	}
	negative := false
	if i < len(b) && (b[i] == '-' || b[i] == '+') {
		negative = b[i] == '-'
		i++
	}
	base := uint64(10)
	if i < len(b) && b[i] == '0' {
		base = 8
		if i+2 < len(b) && (b[i+1] == 'x' || b[i+1] == 'X') {
			if _, ok := hexDigit(b[i+2]); ok {
				base = 16
				i += 2
			}
		}
	}
	start, v, overflow := i, uint64(0), false
	for i < len(b) {
		d, ok := hexDigit(b[i])
		if !ok || uint64(d) >= base {
			break
		}
		v = v*base + uint64(d)
		if v > math.MaxUint32 {
			overflow, v = true, math.MaxUint32
		}
		i++
	}
	if i == start {
		return 0, len(b) == 0, false
	}
	if negative && !overflow {
		v = -v
	}
	return uint32(v), i == len(b), overflow
}

// Reading is what the document reader alone makes of a job document.
type Reading struct {
	JSON     bool // valid JSON, as the reader judges
	Err      ParseErr
	Received uint32 // bits of the model's parameters that were found
	File     File   // values as they stood when reading stopped
}

// ReadDocument reads a job document into an empty file context, as the library does with the application's buffers.
func ReadDocument(doc []byte, p *Profile) Reading {
	cfg := DefaultConfig(p)
	r := Reading{JSON: jsonText(doc).valid()}
	res := parseDocument(doc, &r.File, &cfg, nil)
	r.Err, r.Received = res.err, res.received
	return r
}
