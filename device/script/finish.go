package script

import (
	"fmt"
	"slices"
	"sync"

	"github.com/otasim/otasim/device/agent"
)

const freshJob = "AFR_OTA-fresh"

// Finish asks for life, under a fair network, with an application that gives its verdict and a clock that goes on: the job
// that was offered last gets its terminal status or a file if it never can end well (invariant 23), a new job is taken (21),
// its transfer ends although every third block is lost (22), and it gets a terminal status too (23). Nothing is asked of a
// stopped agent.
func (r *Agent) Finish() {
	if r.resetting {
		r.boot()
	}
	r.held, r.failNet, r.fresh, r.fail = false, false, false, [faultCount]bool{}
	r.process()
	if i := r.offered - 1; i >= 0 && badJobs[i] && !r.ends(Documents[i], jobOf[i]) && !r.stopped() {
		r.violate(23, "job %.20q has no terminal status; the agent is in %v", jobOf[i], r.a.View().State)
	}
	if !r.takes() {
		if !r.stopped() {
			r.violate(21, "the agent is in %v with job %q", r.a.View().State, r.a.View().Job)
		}
		return
	}
	switch older := r.version; {
	case !r.transfers():
		if !r.stopped() {
			r.violate(22, "the agent is in %v, %d blocks remain", r.a.View().State, r.a.Transfer().Remaining)
		}
	case r.activated:
		r.boot()
		if !r.ends(testDoc(older), freshJob) && !r.stopped() {
			r.violate(23, "the new image has no verdict; the agent is in %v", r.a.View().State)
		}
	}
}

// stopped reports whether the agent is out of the game.
func (r *Agent) stopped() bool {
	st := r.a.View().State
	return st == agent.Stopped || st == agent.NotReady || r.Crashed != ""
}

// attend does what device and application do by themselves: start again, give the verdict, resume.
func (r *Agent) attend() {
	if r.resetting {
		r.boot()
	}
	if r.testing {
		r.do(Step{Op: Verdict})
		r.process()
	}
	if r.a.View().State == agent.Suspended {
		r.a.ResumeAgent(r)
		r.process()
	}
}

// runOut lets the armed timers run out.
func (r *Agent) runOut() {
	for t := range r.armed {
		if r.armed[t] && !r.resetting {
			r.armed[t] = false
			r.a.Expired(r, agent.Timer(t))
			r.process()
		}
	}
}

// takes offers the new job until its file is created.
func (r *Agent) takes() bool {
	for range 16 {
		if r.stopped() {
			return false
		}
		r.attend()
		r.document(freshDoc, freshJob)
		if r.process(); r.fresh {
			return true
		}
		r.runOut()
	}
	return false
}

// transfers sends the blocks of the new job as they are asked for, and loses every third request and answer, until the image
// is activated or the job has ended.
func (r *Agent) transfers() bool {
	for n := range 32 {
		switch {
		case r.activated || r.resetting || slices.Contains(r.ended, freshJob):
			return true // after any other restart the job is offered again
		case r.stopped():
			return false
		case r.asks && n%3 != 2:
			r.asks = false
			r.do(Step{Op: Next})
		case r.armed[agent.TimerRequest]:
			r.asks, r.failNet = false, n%3 == 1
			r.armed[agent.TimerRequest] = false
			r.a.Expired(r, agent.TimerRequest)
		}
		r.process()
		r.failNet = false
	}
	return false
}

// ends offers a job until the device says how it ended.
func (r *Agent) ends(doc []byte, job string) bool {
	for range 6 {
		if r.stopped() {
			return false
		}
		r.attend()
		if slices.Contains(r.ended, job) {
			return true
		}
		r.document(doc, job)
		if r.process(); r.testing {
			r.do(Step{Op: Verdict})
			r.process()
		}
		if slices.Contains(r.ended, job) {
			return true
		}
		r.runOut()
	}
	return false
}

// badJobs marks the documents of update jobs that cannot be done.
var badJobs = func() (bad [64]bool) {
	for i := 10; i < 21; i++ {
		bad[i] = true
	}
	bad[14], bad[15], bad[16], bad[19] = false, false, false, false
	return bad
}()

// testDoc is the new job when its image, installed by an older version, is on trial.
func testDoc(older uint32) []byte {
	if docs := testDocs(); older-firstVersion < uint32(len(docs)) {
		return docs[older-firstVersion]
	}
	return makeTestDoc(older)
}

var testDocs = sync.OnceValue(func() (docs [32][]byte) {
	for i := range docs {
		docs[i] = makeTestDoc(firstVersion + uint32(i))
	}
	return docs
})

func makeTestDoc(older uint32) []byte {
	return []byte(text(freshJob, fmt.Sprintf(`"statusDetails":{"self_test":"ready","updatedBy":"%#x"},`, older), file("MQTT", "s-fresh", "300", "0", "")))
}
