package agent

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// resumed suspends and resumes the agent, and delivers what get-next then answers.
func (d *desk) resumed(doc []byte) {
	d.a.SuspendAgent(d)
	d.a.Process(d, -1)
	d.a.ResumeAgent(d)
	d.a.Process(d, -1)
	if doc != nil {
		d.signal(ReceivedJobDocument, doc)
	}
}

func healthy(p *Profile) *desk { return newDesk(p, PlatformValid) }

func with(p *Profile, doc []byte) *desk {
	d := healthy(p)
	d.signal(ReceivedJobDocument, doc)
	return d
}

// libraryDefects are the known defects of the library; damage reports whether an agent of the profile came to harm.
var libraryDefects = []struct {
	name   string
	damage func(p *Profile) bool
}{
	{"tokenLosesDigit", func(p *Profile) bool {
		d := healthy(p)
		d.a.requests = 12
		return string(d.a.clientToken()) != `{"clientToken":"12:dev"}`
	}},
	{"versionZeroEmpty", func(p *Profile) bool { return healthy(p).a.versionText(0x00090002) != "0.9.2" }},
	{"jobIDSplice", func(p *Profile) bool {
		d := with(p, document("AFR_OTA-1", "AFR_OTA-longjobname"))
		d.resumed(document("AFR_OTA-1", "AFR_OTA-x"))
		return d.a.View().Job != "AFR_OTA-x"
	}},
	{"switchLeavesStream", func(p *Profile) bool {
		d := with(p, document())
		d.resumed(document("AFR_OTA-1", "AFR_OTA-2", "s-1", "s-2"))
		old := "$aws/things/dev/streams/s-1/data/cbor"
		return !slices.Contains(d.unsubs, old) && d.a.Receives(old)
	}},
	{"stickyProtocol", func(p *Profile) bool {
		d := with(p, document(`["MQTT"]`, `["XYZ"]`))
		erased := d.size > 0
		d.signal(ReceivedJobDocument, document("AFR_OTA-1", "AFR_OTA-2"))
		return erased && d.a.View().State == CreatingFile
	}},
	{"silentBadSize", func(p *Profile) bool { return with(p, document("300", "0")).count("FAILED") == 0 }},
	{"lateBlockFails", func(p *Profile) bool {
		d := with(p, document())
		d.block(0, 256)
		d.a.Signal(d, ReceivedFileBlock, blockOf(1, 44, 44))
		d.a.Signal(d, ReceivedFileBlock, blockOf(1, 44, 44))
		d.a.Process(d, -1)
		return d.count("ready") == 1 && d.count("FAILED") == 1
	}},
	{"repeatLosesURL", func(p *Profile) bool {
		d := newWebDesk(p, webDoc)
		d.cfg.HeapBuffers = true
		d.response(403, 0, nil)
		d.signal(webDoc)
		return d.urls[len(d.urls)-1] == ""
	}},
	{"httpCounts", func(p *Profile) bool {
		d := newWebDesk(p, webDoc)
		d.response(206, 0, make([]byte, 256))
		d.response(206, 0, make([]byte, 256))
		return len(d.at) == 2 // the second body of one request became the next block
	}},
	{"abortNeedsPublish", func(p *Profile) bool {
		d := with(p, document())
		d.failNet = true
		d.a.SetImageState(d, ImageAborted)
		d.a.Process(d, -1)
		return d.a.View().State == WaitingForFileBlock && d.a.View().Job == ""
	}},
	{"abortLeavesTimer", func(p *Profile) bool {
		d := with(forgetful(p), document())
		d.a.SetImageState(d, ImageAborted)
		d.a.Process(d, -1)
		return d.armed[TimerRequest]
	}},
	{"takesGarbage", func(p *Profile) bool { return with(p, append(document(), "garbage"...)).open }},
	{"keepsOptionals", func(p *Profile) bool {
		d := with(p, document(`"fileid":0`, `"fileid":0,"fileType":101`))
		d.block(0, 256)
		d.block(1, 44)
		d.signal(ReceivedJobDocument, document("AFR_OTA-1", "AFR_OTA-2"))
		d.block(0, 256)
		d.block(1, 44)
		return d.activated == 0 && d.count("SUCCEEDED") == 2 // firmware, and never started
	}},
	{"selfTestByPresence", func(p *Profile) bool {
		d := with(p, document(`"status":"QUEUED"`, `"statusDetails":{"self_test":"no","updatedBy":"0x10001"}`))
		return !d.open
	}},
	{"deafWhileWaiting", func(p *Profile) bool {
		d := healthy(p)
		asked := d.a.requests
		d.a.CheckForUpdate(d)
		d.a.Process(d, -1)
		return d.a.requests == asked
	}},
	{"momentumStops", func(p *Profile) bool {
		d := with(p, document())
		for range 40 {
			d.expire(TimerRequest)
		}
		return d.a.View().State == Stopped && d.count("aborted: 0x00000000") == 1
	}},
	{"unsubscribeFlagSticks", func(p *Profile) bool {
		d := healthy(p)
		d.a.ShutdownAgent(d, false)
		d.a.Process(d, -1)
		d.a.Initialise(d)
		d.signal(Start, nil)
		d.signal(ReceivedJobDocument, document())
		d.a.SetImageState(d, ImageAborted)
		d.a.Process(d, -1)
		return len(d.unsubs) == 0
	}},
	{"emptyDocUnsubscribes", func(p *Profile) bool {
		d := with(p, document())
		d.a.SetImageState(d, ImageAborted)
		d.a.Process(d, -1)
		d.signal(ReceivedJobDocument, []byte(`{"clientToken":"1:dev","timestamp":1}`))
		return slices.Contains(d.unsubs, "$aws/things/dev/streams//data/cbor")
	}},
	{"bitmapOverrun", func(p *Profile) bool { return with(p, document("300", "300000")).a.Crash != "" }},
	{"staleSizeGuard", func(p *Profile) bool {
		d := with(p, document("300", "60000"))
		d.resumed(document("300", "60000"))
		return d.a.View().State != WaitingForFileBlock
	}},
	{"nextTopicCut", func(p *Profile) bool { return healthy(p).a.nextTopic() != "$aws/things/dev/jobs/$next/get" }},
	{"timerStopsBeforeTest", func(p *Profile) bool {
		d := newDesk(p, PlatformPendingCommit)
		d.signal(ReceivedJobDocument, document(`"status":"QUEUED"`, `"statusDetails":{"self_test":"ready","updatedBy":"0x10001"}`))
		return d.testing && !d.armed[TimerSelfTest] // a test that hangs is nobody's business
	}},
	{"resumeArmsSelfTest", func(p *Profile) bool {
		d := healthy(p)
		d.resumed(nil)
		d.expire(TimerSelfTest)
		return d.resets == 1
	}},
	{"timersOutlive", func(p *Profile) bool {
		d := newDesk(p, PlatformPendingCommit)
		d.a.ShutdownAgent(d, true)
		d.a.Process(d, -1)
		return d.armed[TimerSelfTest]
	}},
	{"shutdownWipes", func(p *Profile) bool {
		d := healthy(p)
		d.a.ShutdownAgent(d, true)
		d.a.Process(d, -1)
		d.block(0, 256)
		return d.a.Crash != ""
	}},
	{"shortBlockAsserts", func(p *Profile) bool {
		d := with(p, document())
		d.cfg.Asserts = true
		d.block(1, 44)
		return d.a.Crash != ""
	}},
	{"losesBuffer", func(p *Profile) bool {
		d := healthy(p)
		for range 20 {
			d.a.CheckForUpdate(d)
		}
		before := d.processed
		d.a.Signal(d, ReceivedFileBlock, blockOf(0, 256, 256))
		d.a.Process(d, -1)
		return d.processed == before
	}},
	{"readsIntoTransfer", func(p *Profile) bool {
		d := with(p, document("300", "600"))
		d.resumed(document("300", "1400"))
		return d.a.blocks() == 6 && d.a.View().Remaining == 3 // of a file that has six blocks now
	}},

	{"notificationLosesBuffer", func(p *Profile) bool {
		d := with(p, document())
		before := d.processed
		d.signal(ReceivedJobDocument, document())
		return d.processed == before
	}},
	{"queueLosesTimer", func(p *Profile) bool {
		d := with(p, document())
		for range 20 {
			d.a.Signal(d, ReceivedFileBlock, []byte{0x80})
		}
		d.armed[TimerRequest] = false
		d.a.Expired(d, TimerRequest)
		return !d.armed[TimerRequest]
	}},
	{"staleEvents", func(p *Profile) bool {
		d := healthy(p)
		d.a.Signal(d, ReceivedJobDocument, document())
		d.a.SetImageState(d, ImageAborted)
		d.a.Signal(d, ReceivedJobDocument, document(`["MQTT"]`, `["XYZ"]`, "AFR_OTA-1", "AFR_OTA-2"))
		d.a.Process(d, -1)
		return d.a.View().State == WaitingForFileBlock && !d.open || d.a.View().State == WaitingForFileBlock && d.a.View().Job == ""
	}},
	{"testYieldsToJob", func(p *Profile) bool {
		d := newDesk(p, PlatformPendingCommit)
		d.signal(ReceivedJobDocument, document(`"status":"QUEUED"`, `"statusDetails":{"self_test":"ready","updatedBy":"0x10001"}`))
		d.signal(ReceivedJobDocument, document("AFR_OTA-1", "AFR_OTA-2"))
		return d.testing && d.open && d.a.View().Job == "AFR_OTA-2"
	}},
	{"resumeArmsEarly", func(p *Profile) bool {
		d := healthy(forgetful(p))
		d.a.ResumeAgent(d)
		d.a.Process(d, -1)
		return d.armed[TimerRequest]
	}},
	{"anyFileID", func(p *Profile) bool {
		d := with(p, document(`"fileid":0`, `"fileid":3`))
		d.block(0, 256) // of file 0
		return len(d.written) == 1
	}},
	{"staleTail", func(p *Profile) bool {
		d := with(p, document())
		d.signal(ReceivedFileBlock, blockOf(0, 256, 100))
		return len(d.written) == 1
	}},
	{"duplicateRequests", func(p *Profile) bool {
		d := with(p, document("300", "600"))
		d.block(0, 256)
		before := d.a.View().Momentum
		d.block(0, 256)
		return d.a.View().Momentum > before
	}},
	{"forgetsAnswers", func(p *Profile) bool {
		asked := func(d *desk) bool {
			before := d.a.requests
			d.expire(TimerRequest)
			return d.a.requests > before
		}
		failed := with(p, document(`"filesize":300`, `"filesize":0`))
		return !asked(healthy(p)) && !asked(failed) // the answer to get-next, a final status
	}},
}

// forgetful is the profile without the timer of an agent that waits for answers.
func forgetful(p *Profile) *Profile {
	q := *p
	q.ForgetsAnswers = true
	return &q
}

// TestLibraryDefects shows every known defect in each release that has it, and its absence in that release without the
// switch and in the ideal profile. Defects that no release has are shown in the ideal profile with the switch on.
func TestLibraryDefects(t *testing.T) {
	for _, c := range libraryDefects {
		b := BehaviourByName(c.name)
		require.NotNil(t, b, c.name)
		t.Run(b.ID+" "+b.Name, func(t *testing.T) {
			releases := 0
			for _, p := range Profiles {
				if p.Task2018 || !b.On(p) {
					continue
				}
				releases++
				require.True(t, c.damage(p), p.Name)
				mended, err := p.With(map[string]bool{b.Name: false})
				require.NoError(t, err)
				require.False(t, c.damage(mended), "%s without it", p.Name)
			}
			if releases == 0 {
				broken, err := Ideal.With(map[string]bool{b.Name: true})
				require.NoError(t, err)
				require.True(t, c.damage(broken), "ideal with it")
			}
			require.False(t, c.damage(Ideal), "ideal")
		})
	}
}
