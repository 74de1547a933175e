package agenda

import (
	"sort"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestRunsInOrderOfTimeThenPlanning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type key struct{ due, nth int64 }
		var a Agenda
		var nth int64
		model := map[int]key{} // entry -> its key
		var ran []int
		entries := make([]Entry, 20)
		for i := range entries {
			entries[i].Run = func(int64) { ran = append(ran, i) }
		}
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			i := rapid.IntRange(0, len(entries)-1).Draw(t, "entry")
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0:
				a.Drop(&entries[i])
				delete(model, i)
			default:
				due := rapid.Int64Range(0, 9).Draw(t, "due")
				nth++
				a.Plan(&entries[i], due)
				model[i] = key{due, nth}
			}
		}
		require.Equal(t, len(model), a.Len())
		var want []int
		for i := range model {
			require.True(t, entries[i].Planned())
			want = append(want, i)
		}
		sort.Slice(want, func(x, y int) bool {
			p, q := model[want[x]], model[want[y]]
			return p.due < q.due || p.due == q.due && p.nth < q.nth
		})
		for {
			due, ok := a.Next()
			if !ok {
				break
			}
			a.Run(due)
		}
		require.Equal(t, want, ran)
	})
}

func TestActionsMayPlanForNow(t *testing.T) {
	var a Agenda
	var e Entry
	n := 0
	e.Run = func(now int64) {
		if n++; n < 3 {
			a.Plan(&e, now)
		}
	}
	a.Plan(&e, 5)
	a.Run(4)
	require.Zero(t, n)
	a.Run(5)
	require.Equal(t, 3, n)
	require.False(t, e.Planned())
}
