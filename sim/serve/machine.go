package serve

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/api"
)

// A machine is a cloud together with the rule by which time passes in it: what is
// due happens at exactly the time it is due, before any later call. So the calls
// that change the cloud, with their times, decide everything.
type machine struct {
	cloud   *cloud.Cloud
	options api.Options
	last    time.Time // of what last changed the cloud
}

// settle does what is due up to now, if anything is.
func (m *machine) settle(now time.Time) (woke bool) {
	for {
		due, ok := m.cloud.NextWake()
		if !ok || due.After(now) {
			return woke
		}
		if due.Before(m.last) {
			due = m.last
		}
		m.last = due
		m.cloud.Wake(due)
		woke = true
	}
}

// replay repeats a recorded call, which succeeded then and must now.
func (m *machine) replay(r *record) error {
	now := time.Unix(0, r.Time).UTC()
	m.settle(now)
	m.last = now
	defer m.cloud.Deliveries() // they were carried out then
	if r.Service == "" && r.Topic == "" {
		return nil // what was due has been done, and what came of it is kept elsewhere
	}
	if r.Service == "" {
		if answers, _ := m.cloud.Handle(now, r.Client, r.Topic, r.Body); !accepted(answers) {
			return fmt.Errorf("%w: %.80q is refused, which was accepted: another version of otasim wrote it", ErrJournal, r.Topic)
		}
		return nil
	}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	call := &api.Call{Service: r.Service, Method: r.Method, Target: r.Target, Header: http.Header(r.Header), Body: r.Body}
	m.cloud.SetTime(now)
	if err := api.Replay(now, m.cloud, m.options, call); err != nil {
		return fmt.Errorf("%w: %s %.80q fails, which succeeded: another version of otasim wrote it: %w", ErrJournal, r.Method, r.Target, err)
	}
	return nil
}

func accepted(answers []cloud.Delivery) bool {
	return len(answers) == 1 && strings.HasSuffix(answers[0].Topic, "/accepted")
}
