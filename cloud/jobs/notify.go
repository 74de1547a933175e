package jobs

import (
	"time"

	"github.com/otasim/otasim/cloud/defect"
)

// NotifyKind tells the two notifications of a thing apart.
type NotifyKind uint8

// The list notification and the one about $next.
const (
	Notify NotifyKind = iota
	NotifyNext
)

// Topic is the last segment of the notification's topic.
func (k NotifyKind) Topic() string {
	if k == NotifyNext {
		return "notify-next"
	}
	return "notify"
}

// Notification is a message for $aws/things/Thing/jobs/ and Kind.Topic(). It is
// published through the broker, not retained.
type Notification struct {
	Thing   string
	Kind    NotifyKind
	Payload []byte
}

// Notifications hands out what has been announced since the last call, in
// order. The slice is good until the next call of Notifications.
func (s *Service) Notifications() []Notification {
	out := s.notes
	clear(s.spare)
	s.notes, s.spare = s.spare[:0], out
	return out
}

// announce compares a thing's pending list before and after a change. changed
// says that an execution entered or left the list; head is $next before.
//
// notify follows a change of the set, notify-next a change of $next's identity
// and nothing else: the C agent drops a running download at each notify-next.
func (s *Service) announce(now int64, t *thing, head *execution, changed bool) {
	if changed && s.listening(t, Notify) {
		s.notes = append(s.notes, Notification{t.name, Notify, s.appendList(nil, now, t)})
	}
	if t.head() != head && !s.cfg.Defects.Has(defect.NotifyNextLost) && s.listening(t, NotifyNext) {
		s.notes = append(s.notes, Notification{t.name, NotifyNext, s.appendNext(nil, now, t)})
	}
}

func (s *Service) listening(t *thing, kind NotifyKind) bool {
	return s.cfg.Listening == nil || s.cfg.Listening(t.name, kind)
}

// appendList writes {"timestamp":T,"jobs":{"IN_PROGRESS":[...],"QUEUED":[...]}}.
func (s *Service) appendList(b []byte, now int64, t *thing) []byte {
	b = append(b, `{"timestamp":`...)
	b = s.appendTime(b, now)
	b = append(b, `,"jobs":{`...)
	b = s.appendSummaries(b, t, InProgress, `"IN_PROGRESS":`, false)
	b = s.appendSummaries(b, t, Queued, `"QUEUED":`, b[len(b)-1] != '{')
	return append(b, '}', '}')
}

func (s *Service) appendSummaries(b []byte, t *thing, st Status, key string, comma bool) []byte {
	n := 0
	for i, e := range t.pending {
		if i >= s.shown() {
			break
		}
		if e.status != st {
			continue
		}
		if n == 0 {
			if comma {
				b = append(b, ',')
			}
			b = append(append(b, key...), '[')
		} else {
			b = append(b, ',')
		}
		b = s.appendSummary(b, e)
		n++
	}
	if n > 0 {
		b = append(b, ']')
	}
	return b
}

// appendNext writes {"timestamp":T,"execution":{...}} or only the timestamp.
func (s *Service) appendNext(b []byte, now int64, t *thing) []byte {
	b = append(b, `{"timestamp":`...)
	b = s.appendTime(b, now)
	if e := t.head(); e != nil {
		b = append(b, `,"execution":`...)
		b = s.appendExecution(b, now, e, true)
	}
	return append(b, '}')
}

// document is the job document as a device gets it: a JSON object, with fresh
// presigned URLs in place of their placeholders.
func (s *Service) document(now int64, j *job) []byte {
	if !j.signed || s.cfg.Presign == nil {
		return j.wire
	}
	expires := time.Hour
	if c := j.req.PresignedURLConfig; c != nil && c.ExpiresInSec > 0 {
		expires = time.Duration(c.ExpiresInSec) * time.Second
	}
	return substitute(j.wire, func(url string) (string, error) {
		return s.cfg.Presign(time.Unix(0, now).UTC(), url, expires)
	})
}
