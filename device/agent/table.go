package agent

type handler func(a *Agent, p Port, m message) Err

// transition is one row of the agent's table: in State, on Event, run the handler; the state becomes Next only if
// the handler returns ErrNone. The first matching row wins.
type transition struct {
	state State
	event EventID
	run   handler
	next  State
}

// The table of the library (aws/ota-for-aws-iot-embedded-sdk source/ota.c). Pairs that are not listed are
// "unexpected": the message is dropped and its buffer released.
var transitions = []transition{
	{Ready, Start, (*Agent).start, RequestingJob},
	{RequestingJob, RequestJobDocument, (*Agent).requestJob, WaitingForJob},
	{RequestingJob, RequestTimer, (*Agent).requestJob, WaitingForJob},
	{WaitingForJob, ReceivedJobDocument, (*Agent).processJob, CreatingFile},
	{CreatingFile, StartSelfTest, (*Agent).inSelfTest, WaitingForJob},
	{CreatingFile, CreateFile, (*Agent).initFile, RequestingFileBlock},
	{CreatingFile, RequestTimer, (*Agent).initFile, RequestingFileBlock},
	{RequestingFileBlock, RequestFileBlock, (*Agent).requestData, WaitingForFileBlock},
	{RequestingFileBlock, RequestTimer, (*Agent).requestData, WaitingForFileBlock},
	{WaitingForFileBlock, ReceivedFileBlock, (*Agent).processData, WaitingForFileBlock},
	{WaitingForFileBlock, RequestTimer, (*Agent).requestData, WaitingForFileBlock},
	{WaitingForFileBlock, RequestFileBlock, (*Agent).requestData, WaitingForFileBlock},
	{WaitingForFileBlock, RequestJobDocument, (*Agent).requestJob, WaitingForJob},
	{WaitingForFileBlock, ReceivedJobDocument, (*Agent).jobNotification, RequestingJob},
	{WaitingForFileBlock, CloseFile, (*Agent).closeFile, WaitingForJob},
	{Suspended, Resume, (*Agent).resume, RequestingJob},
	{anyState, Suspend, (*Agent).suspend, Suspended},
	{anyState, UserAbort, (*Agent).userAbort, WaitingForJob},
	{anyState, Shutdown, (*Agent).shutdown, Stopped},
}

// Rows that come first: of a profile without defect C15, and of one that also asks again by itself.
var (
	checkRows = []transition{{WaitingForJob, RequestJobDocument, (*Agent).requestJob, WaitingForJob}}
	timerRows = []transition{{WaitingForJob, RequestTimer, (*Agent).requestJob, WaitingForJob}}
)

// lookup is a table unrolled: the row by state and event.
type lookup [anyState][eventCount]*transition

func newLookup(tables ...[]transition) *lookup {
	l := new(lookup)
	for _, rows := range tables {
		for i := range rows {
			row := &rows[i]
			for s := State(0); s < anyState; s++ {
				if (row.state == s || row.state == anyState) && l[s][row.event] == nil {
					l[s][row.event] = row
				}
			}
		}
	}
	return l
}

var (
	libraryLookup  = newLookup(transitions)
	timerLookup    = newLookup(timerRows, transitions)
	askAgainLookup = newLookup(checkRows, timerRows, transitions)
)

// table returns the profile's transitions.
func (p *Profile) table() *lookup {
	switch {
	case p.Task2018:
		return afrLookup
	case p.DeafWhileWaiting && !p.ForgetsAnswers:
		return timerLookup
	case p.DeafWhileWaiting:
		return libraryLookup
	}
	return askAgainLookup
}
