package rules

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/protocol"
)

func TestKeepAlive(t *testing.T) {
	for in, want := range map[uint16]time.Duration{0: 1200, 1: 30, 29: 30, 30: 30, 60: 60, 1200: 1200, 1201: 1200, 65535: 1200} {
		require.Equal(t, want*time.Second, KeepAlive(in), "%d", in)
	}
}

func TestNames(t *testing.T) {
	require.NoError(t, Topic("a/b/c/d/e/f/g/h"), "seven slashes")
	require.NoError(t, Topic("$aws/rules/name/a/b/c/d/e/f/g/h"), "Basic Ingest's prefix is free")
	require.NoError(t, Topic(strings.Repeat("x", 256)))
	require.NoError(t, Filter("+/+/#"))
	require.NoError(t, Filter("#"))
	for _, bad := range []string{"", "a/b/c/d/e/f/g/h/i", strings.Repeat("x", 257), "a/+", "#", "a\x00", "\xff"} {
		require.ErrorIs(t, Topic(bad), ErrRefused, "%q", bad)
	}
	for _, bad := range []string{"", "a+", "a/#/b", "a#", "a/b/c/d/e/f/g/h/+", "\xff"} {
		require.ErrorIs(t, Filter(bad), ErrRefused, "%q", bad)
	}
	require.ErrorIs(t, ClientID(""), ErrRefused)
	require.ErrorIs(t, ClientID("$x"), ErrRefused)
	require.NoError(t, ClientID(strings.Repeat("x", 128)))
	require.NoError(t, Payload(MaxPayload))
	require.ErrorIs(t, Payload(MaxPayload+1), ErrRefused)
}

func TestClassify(t *testing.T) {
	for topic, want := range map[string][4]any{
		"a/b":                                            {Ordinary, "", "", ""},
		"$aws/things/t/jobs/get":                         {Jobs, "t", "", "get"},
		"$aws/things/t/jobs/$next/get":                   {Jobs, "t", "", "$next/get"},
		"$aws/things/t/jobs//update":                     {Jobs, "t", "", "/update"},
		"$aws/things/t/jobs/notify":                      {Forbidden, "", "", ""},
		"$aws/things/t/jobs/x/get/accepted":              {Forbidden, "", "", ""},
		"$aws/things/t/streams/s/get/cbor":               {Streams, "t", "s", "get/cbor"},
		"$aws/things/t/streams/s/data/cbor":              {Forbidden, "", "", ""},
		"$aws/things/t/streams/s":                        {Forbidden, "", "", ""},
		"$aws/things/t/shadow/update":                    {Shadow, "t", "", "update"},
		"$aws/certificates/create/json":                  {Provisioning, "", "", "create/json"},
		"$aws/certificates/create-from-csr/cbor":         {Provisioning, "", "", "create-from-csr/cbor"},
		"$aws/certificates/create/json/accepted":         {Forbidden, "", "", ""},
		"$aws/provisioning-templates/t/provision/cbor":   {Provisioning, "", "t", "provision/cbor"},
		"$aws/provisioning-templates/a b/provision/cbor": {Forbidden, "", "", ""},
		"$aws/provisioning-templates/t/provision/xml":    {Forbidden, "", "", ""},
		"$aws/things/t/shadow/name/n/get":                {Shadow, "t", "n", "get"},
		"$aws/things/t/shadow/name/$pkg/get":             {Shadow, "t", "$pkg", "get"},
		"$aws/things/t/shadow/name/a.b/get":              {Forbidden, "", "", ""},
		"$aws/things/t/shadow/update/delta":              {Forbidden, "", "", ""},
		"$aws/things/t/shadow/name/get":                  {Forbidden, "", "", ""},
		"$aws/events/presence/connected/abc":             {Forbidden, "", "", ""},
		"$SYS/x":                                         {Forbidden, "", "", ""},
	} {
		use, thing, name, rest := Classify(topic)
		require.Equal(t, want, [4]any{use, thing, name, rest}, topic)
	}
}

func TestMetered(t *testing.T) {
	for n, want := range map[int]uint64{0: 1, 1: 1, 5120: 1, 5121: 2, 10240: 2, 131072: 26} {
		require.Equal(t, want, Metered(n), "%d", n)
	}
}

func FuzzTopics(f *testing.F) {
	f.Add("$aws/things/t/jobs/$next/get", "$aws/things/+/jobs/#")
	f.Add("a/b", "+/#")
	f.Fuzz(func(t *testing.T, topic, filter string) {
		use, thing, name, rest := Classify(topic)
		if use == Jobs || use == Streams || use == Shadow {
			if !strings.HasSuffix(topic, rest) || !strings.Contains(topic, thing) || !strings.Contains(topic, name) {
				t.Fatalf("%q: %q %q %q", topic, thing, name, rest)
			}
		}
		if Topic(topic) == nil && Filter(topic) != nil {
			t.Fatalf("topic %q is no filter", topic)
		}
		if Topic(topic) == nil && !protocol.MatchFilter(topic, topic) {
			t.Fatalf("topic %q does not match itself", topic)
		}
		if Filter(filter) == nil && !Wildcard(filter) && protocol.MatchFilter(filter, topic) != (filter == topic) {
			t.Fatalf("filter %q and topic %q", filter, topic)
		}
	})
}
