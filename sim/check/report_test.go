package check

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTold(t *testing.T) {
	const topic = "$aws/things/a/jobs/AFR_OTA-fw/update"
	for _, c := range []struct{ topic, payload, status string }{
		{topic, `{"status":"SUCCEEDED","statusDetails":{"reason":"accepted"}}`, "SUCCEEDED"},
		{topic, `{"statusDetails":{},"status": "FAILED"}`, "FAILED"},
		{topic, `{"status":"IN_PROGRESS","statusDetails":{"reason":"FAILED"}}`, ""},
		{topic, `{"clientToken":"x"}`, ""},
		{topic, ``, ""},
		{topic + "/accepted", `{"status":"FAILED"}`, ""},
		{"$aws/things/a/shadow/update", `{"status":"FAILED"}`, ""},
	} {
		e, ok := Told(c.topic, []byte(c.payload))
		require.Equal(t, c.status != "", ok, c.payload)
		require.Equal(t, c.status, e.Status)
	}
	a, b := End{topic, "SUCCEEDED"}, End{topic, "FAILED"}
	require.True(t, b.Contradicts(a))
	require.False(t, a.Contradicts(a), "a message that is sent again")
	require.False(t, b.Contradicts(End{"other", "SUCCEEDED"}))
	require.False(t, b.Contradicts(End{}))
}

func FuzzTold(f *testing.F) {
	f.Add("$aws/things/a/jobs/j/update", []byte(`{"status":"FAILED"}`))
	f.Add("/jobs//update", []byte(`"status""status":`))
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		if e, ok := Told(topic, payload); ok != (e.Status != "") {
			t.Fatal(e, ok)
		}
	})
}
