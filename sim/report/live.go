package report

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Live shows the progress of a run: a block that is redrawn on a terminal, one line per step or per ten seconds otherwise.
// It may be called from any goroutine.
type Live struct {
	W        io.Writer
	Terminal bool
	Width    int              // columns of the terminal
	Now      func() time.Time // wall clock
	Name     string
	Seed     uint64

	mu     sync.Mutex
	start  time.Time
	last   time.Time
	lines  int // of the block on the screen
	recent []string
}

// Show takes a look at the run.
func (l *Live) Show(p Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.Now()
	if l.start.IsZero() {
		l.start = now
	}
	if l.Terminal {
		for _, s := range p.Steps {
			l.recent = append(l.recent, Clock(seconds(s.At))+"  "+s.Text)
		}
		l.recent = l.recent[max(0, len(l.recent)-3):]
		if now.Sub(l.last) >= 100*time.Millisecond {
			l.last = now
			l.draw(p, now.Sub(l.start))
		}
		return
	}
	for _, s := range p.Steps {
		fmt.Fprintf(l.W, "%10s  %s\n", Clock(seconds(s.At)), s.Text)
	}
	switch {
	case l.last.IsZero():
		l.last = now
	case now.Sub(l.last) >= 10*time.Second:
		l.last = now
		fmt.Fprintf(l.W, "%10s  %s\n", Clock(p.Virtual), p.counts())
	}
}

// Done removes the block from the screen.
func (l *Live) Done() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
}

func (l *Live) erase() {
	if l.lines > 0 {
		fmt.Fprintf(l.W, "\x1b[%dA\x1b[J", l.lines)
		l.lines = 0
	}
}

func (l *Live) draw(p Progress, wall time.Duration) {
	share := 0.0
	if p.Limit > 0 {
		share = min(1, float64(p.Virtual)/float64(p.Limit))
	}
	rate := uint64(0)
	if wall > 0 {
		rate = uint64(float64(p.Events) / wall.Seconds())
	}
	lines := []string{
		fmt.Sprintf("  %s   virtual %s of %s   wall %s   %s events/s   seed %d", l.Name, Clock(p.Virtual), Clock(p.Limit), Clock(wall.Round(100*time.Millisecond)), Thousands(rate), l.Seed),
		fmt.Sprintf("  %s %3.0f %%   %s", bar(doneShare(p, share), 30), 100*doneShare(p, share), p.counts()),
	}
	for _, r := range l.recent {
		lines = append(lines, "  "+r)
	}
	l.erase()
	for _, line := range lines {
		if r := []rune(line); l.Width > 1 && len(r) >= l.Width {
			line = string(r[:l.Width-1])
		}
		fmt.Fprintln(l.W, line)
	}
	l.lines = len(lines)
}

// doneShare is the share of finished executions, or of the virtual time while there are none.
func doneShare(p Progress, time float64) float64 {
	all, done := 0, 0
	for status, n := range p.Executions {
		all += n
		if status != "QUEUED" && status != "IN_PROGRESS" {
			done += n
		}
	}
	if all == 0 {
		return time
	}
	return float64(done) / float64(max(all, 1))
}

func bar(share float64, width int) string {
	n := int(share * float64(width))
	return strings.Repeat("█", n) + strings.Repeat("░", width-n)
}

func (p Progress) counts() string {
	text := Thousands(p.Devices) + " devices"
	if p.Connected > 0 {
		text += "   connected " + Thousands(p.Connected)
	}
	if s := sentence(p.Executions, ""); s != "" {
		text += "   " + s
	}
	if p.RolledBack > 0 {
		text += fmt.Sprintf("   %s rolled back", Thousands(p.RolledBack))
	}
	if p.Bricked > 0 {
		text += fmt.Sprintf("   %s bricked", Thousands(p.Bricked))
	}
	return text
}
