package firmware

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/flashmodel/image"
)

func TestVersion(t *testing.T) {
	for label, want := range map[string]uint32{
		"1.2.3": 0x01020003, "0.9.2": 0x00090002, "v1.4.0-3-gabc": 0x01040000, "7": 0x07000000, "1.2": 0x01020000,
		"": 0, "abc": 0, "256.300.70000": 0xffffffff, "1..2": 0x01000002, "v5.2.1.9": 0x05020001,
	} {
		require.Equal(t, want, Version(label), label)
	}
	require.Equal(t, "1.2.3", VersionText(0x01020003))
}

func TestCatalogue(t *testing.T) {
	file, err := image.Build(image.Spec{Version: "1.0.0", Size: 50_000, Seed: 1})
	require.NoError(t, err)
	var c Catalogue
	require.NoError(t, c.Add(file, Behaviour{SelfTest: Crash}))
	m, verdict := image.Verify(memory(file), 0, uint32(len(file)), image.VerifyOptions{Mode: image.AppVerify})
	require.Equal(t, image.OK, verdict)
	require.Equal(t, Crash, c.Lookup(m.SHA256).SelfTest)
	require.Equal(t, Pass, c.Lookup([32]byte{}).SelfTest)
	require.Equal(t, Pass, (*Catalogue)(nil).Lookup(m.SHA256).SelfTest)
	require.ErrorIs(t, c.Add(file[:1000], Behaviour{}), ErrImage)
	require.ErrorIs(t, c.Add(nil, Behaviour{}), ErrImage)
}

func TestRealFirmware(t *testing.T) {
	dir := os.Getenv("OTASIM_FIRMWARE")
	if dir == "" {
		t.Skip("OTASIM_FIRMWARE is not set: no real firmware")
	}
	file, err := os.ReadFile(filepath.Join(dir, "esp32-app-template.bin"))
	require.NoError(t, err)
	var c Catalogue
	require.NoError(t, c.Add(file, Behaviour{Version: "1.1.0"}))
}

func TestSelfTestNames(t *testing.T) {
	for _, s := range []SelfTest{Pass, Fail, Crash, Hang, Online, Slow} {
		got, err := ParseSelfTest(s.String())
		require.NoError(t, err)
		require.Equal(t, s, got)
	}
	_, err := ParseSelfTest("maybe")
	require.Error(t, err)
}

func FuzzVersion(f *testing.F) {
	f.Add("1.2.3")
	f.Add("v9999999999999.1")
	f.Fuzz(func(t *testing.T, s string) {
		if v := Version(s); Version(VersionText(v)) != v {
			t.Fatalf("%q: %x", s, v)
		}
	})
}
