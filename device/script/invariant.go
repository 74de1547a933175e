package script

import (
	"strings"

	"github.com/otasim/otasim/device/agent"
)

// Invariant is something that holds in a correct device. Broken names the behaviours with which a profile breaks it, as
// agent.Behaviours names them; any other violation is a defect of the model.
type Invariant struct {
	Number int
	Text   string
	Broken []string
}

// Invariants lists them by number, safety before liveness.
var Invariants = [...]Invariant{
	{1, "an image is activated only after a file of exactly its size was verified", words("writeAnyResult readsIntoTransfer")},
	{2, "as many blocks remain as bits are set; no bit lies behind the last block", words("readsIntoTransfer keepsWithoutBitmap")},
	{3, "a block is written at most once and inside the file, the file fits its slot with its trailer", words("trailerOverflows readsIntoTransfer writeAnyResult")},
	{4, "a block is written only if its stream and file id are those of the active job", words("switchLeavesStream anyFileID readsIntoTransfer")},
	{5, "the bytes written for a block are the bytes received for it", words("staleTail")},
	{6, "the position of an HTTP body is that of the range it answers", words("httpCounts")},
	{7, "something bootable is recorded; the running slot is never erased, nor the older firmware's during a trial", words("trialOverwrites")},
	{8, "an unverified image is started once at most", words("trialOverwrites")},
	{9, "a status update names a job that was delivered", words("jobIDSplice lateBlockFails abortNeedsPublish longJobIDCustom trialOverwrites")},
	{10, "a job gets one terminal status, and no progress after it", words("lateBlockFails readsIntoTransfer")},
	{11, "SUCCEEDED of an image comes after its record is VALID, and after its rejection the older one starts", words("trialOverwrites")},
	{12, "the version reported is the one that runs", words("versionZeroEmpty")},
	{13, "unanswered requests stay within the limit; an accepted block starts the count anew", words("duplicateResets")},
	{14, "a transfer has a job, an open file and a bitmap", words("abortNeedsPublish readsIntoTransfer lateBlockFails staleEvents guardPretends trialOverwrites")},
	{15, "a job without an open file is in its self-test", words("jobMessageCloses keepsFailedJob silentBadSize readsIntoTransfer staleEvents")},
	{16, "every buffer is given back once", words("losesBuffer notificationLosesBuffer")},
	{17, "the request timer runs while a request or a retry is due, and not otherwise", words("stallsOnLostRequest abortLeavesTimer abortNeedsPublish suspendStopsEarly resumeArmsEarly shutdownStopsEarly timersOutlive queueLosesTimer staleEvents")},
	{18, "the self-test timer runs while the verdict on an image is due, and not otherwise", words("timerStopsBeforeTest resumeArmsSelfTest timersOutlive rejectLeavesTimer")},
	{19, "what a document says does not depend on the one before", words("keepsOptionals readsIntoTransfer")},
	{20, "a stream request fits its buffer", nil},
	{21, "a new job is taken without a restart, unless the agent was stopped", words("jobMessageCloses stallsOnLostRequest keepsFailedJob stickyProtocol silentBadSize trailerOverflows abortNeedsPublish keepsOptionals staleSizeGuard queueLosesTimer suspendStopsEarly staleEvents")},
	{22, "under a fair network a transfer ends", words("stallsOnLostRequest jobMessageCloses httpCounts")},
	{23, "every job gets a terminal status or is replaced", words("silentBadSize stickyProtocol jobMessageCloses asksOnce readsIntoTransfer notificationLosesBuffer")},
	{24, "subscriptions do not pile up", words("switchLeavesStream unsubscribeFlagSticks")},
	{25, "a rollback ends within the watchdog and one more restart", nil},
}

func words(s string) []string { return strings.Fields(s) }

// Excuse names a behaviour of the profile that is known to break the invariant, "" if it has none.
func (i *Invariant) Excuse(p *agent.Profile) string {
	for _, name := range i.Broken {
		if agent.BehaviourByName(name).On(p) {
			return name
		}
	}
	return ""
}

// excused marks the invariants that a profile may break; index 0 is not used.
func excused(p *agent.Profile) (e [len(Invariants) + 1]bool) {
	for i := range Invariants {
		e[Invariants[i].Number] = Invariants[i].Excuse(p) != ""
	}
	return e
}
