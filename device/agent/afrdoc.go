package agent

// maxTokens is the longest document of the 2018 agent, in tokens.
const maxTokens = 64

// tokenSize is the bytes of a token on the heap of a 32-bit device.
const tokenSize = 20

// The parameters of the 2018 agent's document model, by key. It is flat: a string anywhere in the document that
// equals a key is that key, and the token after it is the value.
const (
	afrClientToken = iota
	afrExecution
	afrJobID
	afrStatusDetails
	afrSelfTest
	afrUpdatedBy
	afrJobDocument
	afrAFROTA
	afrFiles
	afrStream
	afrCert
	afrPath
	afrSize
	afrSignature
	afrFileID
	afrAttr
	afrParamCount
)

var afrModel = [afrParamCount]struct {
	key      string
	kind     tokenKind
	required bool
}{
	{"clientToken", tokenString, false},
	{"execution", tokenObject, true},
	{"jobId", tokenString, true},
	{"statusDetails", tokenObject, false},
	{"self_test", tokenString, false},
	{"updatedBy", tokenString, false},
	{"jobDocument", tokenObject, true},
	{"afr_ota", tokenObject, true},
	{"files", tokenArray, true},
	{"streamname", tokenString, true},
	{"certfile", tokenString, true},
	{"filepath", tokenString, true},
	{"filesize", tokenPrimitive, true},
	{"sig-sha256-ecdsa", tokenString, true},
	{"fileid", tokenPrimitive, true},
	{"attr", tokenPrimitive, false},
}

func paramOf(key []byte) int {
	for i := range afrModel {
		if string(key) == afrModel[i].key {
			return i
		}
	}
	return afrParamCount
}

// parse2018 reads a document into the free file context and decides what it is. It returns true for a job that is to
// be downloaded.
func (a *Agent) parse2018(p Port, doc []byte) bool {
	var room [maxTokens]token
	tokens, ok := tokenize(room[:0], doc, maxTokens)
	if !ok || len(tokens) == 0 || !p.Alloc(len(tokens)*tokenSize) {
		return false
	}
	received, named, ok := a.walk(p, doc, tokens)
	outcome := uint32(0)
	switch {
	case !ok || missing(received):
		outcome = afrNonConformingJobDoc
	case a.file.Size == 0:
		outcome = afrZeroFileSize
	case a.afr.hasJob && a.job != a.file.JobID:
		outcome = afrBusyWithExistingJob
	case a.afr.hasJob:
		outcome = afrBusyWithSameJob
	default:
		a.job, a.afr.hasJob = a.file.JobID, true
		if a.file.SelfTest {
			a.selfTestJob2018(p)
			return false
		}
		return true
	}
	foreign := received&(1<<afrAFROTA) == 0 && !a.cfg.Profile.FailsForeignJobs
	if named && outcome != afrBusyWithSameJob && !foreign {
		a.job, a.afr.hasJob = a.file.JobID, true
		a.updateStatus(p, StatusFailedWithValue, uint32(afrJobParserError), outcome)
		a.job, a.afr.hasJob = "", false
	}
	return false
}

func missing(received uint32) bool {
	for i := range afrModel {
		if afrModel[i].required && received&(1<<i) == 0 {
			return true
		}
	}
	return false
}

// walk goes through the tokens and stores what the model names. It stops at the first mistake. named says that a job
// id was stored.
func (a *Agent) walk(p Port, doc []byte, tokens []token) (received uint32, named, ok bool) {
	if !a.cfg.Profile.TokenDangles {
		a.afr.token = nil
	}
	for i := 0; i < len(tokens); i++ {
		if tokens[i].kind != tokenString {
			continue
		}
		param := paramOf(doc[tokens[i].start:tokens[i].end])
		if param == afrParamCount {
			key := i
			for i+1 < len(tokens) && tokens[i+1].parent >= key {
				i++
			}
			continue
		}
		if received&(1<<param) != 0 {
			return received, named, false
		}
		received |= 1 << param
		var value token
		if i+1 < len(tokens) {
			value = tokens[i+1]
		}
		if value.kind != afrModel[param].kind {
			return received, named, false
		}
		if !a.store2018(p, param, doc, value) {
			return received, named, false
		}
		named = named || param == afrJobID
	}
	return received, named, true
}

// store2018 keeps one value.
func (a *Agent) store2018(p Port, param int, doc []byte, value token) bool {
	f, text := &a.file, doc[value.start:value.end]
	str := func(dst *Text) bool {
		if !p.Alloc(len(text) + 1) {
			return false
		}
		*dst = Text{S: cString(text)}
		return true
	}
	number := func(dst *uint32) bool {
		v, whole := parseLong(text)
		*dst = v
		return whole
	}
	switch param {
	case afrClientToken:
		a.afr.token = doc[value.start:]
	case afrJobID:
		var id Text
		ok := str(&id)
		f.JobID = id.S
		return ok
	case afrSelfTest:
		f.SelfTest = a.cfg.Profile.SelfTestByPresence || isTestState(text)
	case afrUpdatedBy:
		return number(&f.UpdatedBy)
	case afrStream:
		return str(&f.Stream)
	case afrCert:
		return str(&f.Cert)
	case afrPath:
		return str(&f.Path)
	case afrSize:
		return number(&f.Size)
	case afrFileID:
		return number(&f.ID)
	case afrAttr:
		return number(&f.Attr)
	case afrSignature:
		if !p.Alloc(a.cfg.Profile.SignatureMax) {
			return false
		}
		sig, ok := decodeBase64Blocks(text, a.cfg.Profile.SignatureMax)
		f.Signature = sig
		return ok
	}
	return true
}

// selfTestJob2018 decides whether the running image may be tested.
func (a *Agent) selfTestJob2018(p Port) {
	switch {
	case a.file.UpdatedBy < a.version:
		a.setImageState2018(p, ImageTesting, 0)
		return
	case a.file.UpdatedBy > a.version:
		a.setImageState2018(p, ImageRejected, afrDowngradeNotAllowed)
	default:
		if n, _ := parseLong(a.afr.token); n == 0 {
			a.setImageState2018(p, ImageRejected, afrSameFirmwareVersion)
		}
	}
	p.ResetDevice(&a.file)
}
