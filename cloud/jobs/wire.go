package jobs

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// Reply is the answer to a data plane publish: Topic is what follows
// $aws/things/T/jobs/, for example "$next/get/accepted".
type Reply struct {
	Topic   string
	Payload []byte
}

// Handle answers a publish on $aws/things/THING/jobs/REST. There is always an
// answer; what the change announces follows in Notifications.
func (s *Service) Handle(now time.Time, thing, rest string, payload []byte) Reply {
	at := now.UnixNano()
	body, token, err := s.answer(at, thing, rest, payload)
	if err == nil {
		return Reply{rest + "/accepted", body}
	}
	return s.rejected(at, rest, token, err)
}

// Refuse answers a request with an error of the caller's, without carrying it
// out: RequestThrottled or InternalError.
func (s *Service) Refuse(now time.Time, rest string, payload []byte, code, message string) Reply {
	var r request
	token := ""
	if decode(payload, &r) == nil && r.token != nil && len(*r.token) <= maxToken {
		token = *r.token
	}
	return s.rejected(now.UnixNano(), rest, token, &DataError{Code: code, Message: message})
}

func (s *Service) rejected(at int64, rest, token string, err *DataError) Reply {
	b := append(make([]byte, 0, 160), `{"code":"`...)
	b = append(b, err.Code...)
	b = append(b, `","message":`...)
	b = appendString(b, err.Message)
	b = s.appendToken(append(b, ','), token)
	b = s.appendTime(append(b, `"timestamp":`...), at)
	if err.State != nil {
		b = append(b, `,"executionState":`...)
		b = appendState(b, err.State.Status, err.State.details, err.State.VersionNumber)
	}
	return Reply{rest + "/rejected", append(b, '}')}
}

func (s *Service) answer(now int64, thing, rest string, payload []byte) (body []byte, token string, derr *DataError) {
	jobID, api := "", rest
	if id, op, ok := strings.Cut(rest, "/"); ok {
		jobID, api = id, op
		if op != "get" && op != "update" || id == "" || id == nextJob && op == "update" {
			return nil, "", &DataError{Code: InvalidTopic, Message: "The topic does not map to a known API."}
		}
	} else if rest != "get" && rest != "start-next" {
		return nil, "", &DataError{Code: InvalidTopic, Message: "The topic does not map to a known API."}
	}
	var r request
	if derr := decode(payload, &r); derr != nil {
		return nil, "", derr
	}
	if r.token != nil {
		if len(*r.token) > maxToken {
			return nil, "", invalid("Value '%.80s' at 'clientToken' failed to satisfy constraint: Member must have length less than or equal to 64", *r.token)
		}
		token = *r.token
	}
	b := s.appendToken(append(make([]byte, 0, 512), '{'), token)
	b = s.appendTime(append(b, `"timestamp":`...), now)
	switch {
	case jobID == "" && api == "get":
		t, derr := s.pending(thing)
		if derr != nil {
			return nil, token, derr
		}
		b = append(b, `,"inProgressJobs":[`...)
		b = s.appendRows(b, t, InProgress)
		b = append(b, `],"queuedJobs":[`...)
		b = s.appendRows(b, t, Queued)
		return append(b, ']', '}'), token, nil
	case api == "start-next":
		step, derr := stepMinutes(r.step)
		if derr != nil {
			return nil, token, derr
		}
		e, derr := s.startNext(now, thing, r.details, step)
		if derr != nil {
			return nil, token, derr
		}
		if e != nil {
			b = append(b, `,"execution":`...)
			b = s.appendExecution(b, now, e, true)
		}
		return append(b, '}'), token, nil
	case api == "get":
		e, derr := s.lookup(thing, jobID, r.number, true)
		if derr != nil {
			return nil, token, derr
		}
		if e != nil {
			b = append(b, `,"execution":`...)
			b = s.appendExecution(b, now, e, r.document == nil || *r.document)
		}
		return append(b, '}'), token, nil
	}
	u, derr := parseUpdate(&r)
	if derr != nil {
		return nil, token, derr
	}
	e, derr := s.update(now, thing, jobID, u)
	if derr != nil {
		return nil, token, derr
	}
	if r.state != nil && *r.state {
		b = append(b, `,"executionState":`...)
		b = appendState(b, e.status, e.details, e.version)
	}
	if r.document != nil && *r.document {
		b = append(b, `,"jobDocument":`...)
		b = append(b, s.document(now, e.job)...)
	}
	return append(b, '}'), token, nil
}

func parseUpdate(r *request) (u update, derr *DataError) {
	if r.status == nil {
		return u, invalid("Value null at 'status' failed to satisfy constraint: Member must not be null")
	}
	st, ok := ParseStatus(*r.status)
	if !ok || st != InProgress && st != Succeeded && st != Failed && st != Rejected {
		return u, invalid("Value '%.40s' at 'status' failed to satisfy constraint: Member must satisfy enum value set: [IN_PROGRESS, SUCCEEDED, FAILED, REJECTED]", *r.status)
	}
	u = update{status: st, details: r.details, expected: r.expected, number: r.number}
	u.step, derr = stepMinutes(r.step)
	return u, derr
}

func stepMinutes(v *int64) (int64, *DataError) {
	if v == nil {
		return 0, nil
	}
	if *v != -1 && (*v < 1 || *v > maxMinutes) {
		return 0, invalid("Value '%d' at 'stepTimeoutInMinutes' failed to satisfy constraint: -1 or between 1 and 10080", *v)
	}
	return *v, nil
}

func (s *Service) appendTime(b []byte, ns int64) []byte {
	if s.cfg.Switches.Milliseconds {
		return strconv.AppendInt(b, ns/1e6, 10)
	}
	return strconv.AppendInt(b, ns/1e9, 10)
}

// appendToken writes "clientToken":"...", or nothing for an empty token.
func (s *Service) appendToken(b []byte, token string) []byte {
	if token == "" {
		return b
	}
	b = append(b, `"clientToken":`...)
	return append(appendString(b, token), ',')
}

func (s *Service) appendRows(b []byte, t *thing, st Status) []byte {
	if t == nil {
		return b
	}
	first := true
	for i, e := range t.pending {
		if i >= s.shown() {
			break
		}
		if e.status == st {
			if !first {
				b = append(b, ',')
			}
			b, first = s.appendSummary(b, e), false
		}
	}
	return b
}

func (s *Service) appendSummary(b []byte, e *execution) []byte {
	b = append(b, `{"jobId":`...)
	b = appendString(b, e.job.id)
	b = s.appendTimes(b, e)
	return append(b, '}')
}

func (s *Service) appendTimes(b []byte, e *execution) []byte {
	b = s.appendTime(append(b, `,"queuedAt":`...), e.queuedAt)
	if e.startedAt != 0 {
		b = s.appendTime(append(b, `,"startedAt":`...), e.startedAt)
	}
	b = s.appendTime(append(b, `,"lastUpdatedAt":`...), e.updatedAt)
	b = strconv.AppendInt(append(b, `,"versionNumber":`...), e.version, 10)
	return strconv.AppendInt(append(b, `,"executionNumber":`...), int64(e.number), 10)
}

func (s *Service) appendExecution(b []byte, now int64, e *execution, document bool) []byte {
	b = append(b, `{"jobId":`...)
	b = appendString(b, e.job.id)
	b = append(b, `,"thingName":`...)
	b = appendString(b, e.thing.name)
	b = append(b, `,"status":"`...)
	b = append(append(b, e.status.String()...), '"')
	if len(e.details) > 0 {
		b = appendDetails(append(b, `,"statusDetails":`...), e.details)
	}
	b = s.appendTimes(b, e)
	if left := e.secondsLeft(now); left > 0 {
		b = strconv.AppendInt(append(b, `,"approximateSecondsBeforeTimedOut":`...), left, 10)
	}
	if document {
		b = append(append(b, `,"jobDocument":`...), s.document(now, e.job)...)
	}
	return append(b, '}')
}

func appendState(b []byte, st Status, details []Detail, version int64) []byte {
	b = append(append(b, `{"status":"`...), st.String()...)
	b = append(b, '"')
	if len(details) > 0 {
		b = appendDetails(append(b, `,"statusDetails":`...), details)
	}
	b = strconv.AppendInt(append(b, `,"versionNumber":`...), version, 10)
	return append(b, '}')
}

func appendDetails(b []byte, details []Detail) []byte {
	b = append(b, '{')
	for i, d := range details {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, d.Key), ':')
		b = appendString(b, d.Value)
	}
	return append(b, '}')
}

// appendString writes s as a JSON string; s is valid UTF-8.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

const placeholder = "${aws:iot:s3-presigned-url:"

// substitute replaces each placeholder by what sign makes of its URL. A URL
// that cannot be signed is left as it stands.
func substitute(doc []byte, sign func(url string) (string, error)) []byte {
	var out []byte
	for n := 0; n < 10; n++ {
		i := bytes.Index(doc, []byte(placeholder))
		if i < 0 {
			break
		}
		end := bytes.IndexByte(doc[i:], '}')
		if end < 0 {
			break
		}
		url, err := sign(string(doc[i+len(placeholder) : i+end]))
		if err != nil {
			out = append(out, doc[:i+end+1]...)
		} else {
			out = append(out, doc[:i]...)
			quoted := appendString(nil, url)
			out = append(out, quoted[1:len(quoted)-1]...)
		}
		doc = doc[i+end+1:]
	}
	return append(out, doc...)
}
