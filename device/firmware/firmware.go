// Package firmware is what a running image does besides updating itself: its version, its self-test, and the identity
// it reads from NVS.
//
// An image is only bytes to the boot loader. What its program would do is looked up in a Catalogue by the SHA-256 of
// the image as read from the device's own flash: header to checksum, the value an ESP32 image carries as its last 32
// bytes. Images the catalogue does not know pass their self-test and have the version of their descriptor, unless it has
// a behaviour for all others.
package firmware

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/otasim/otasim/flashmodel/image"
)

// SelfTest is how the self-test of an image ends.
type SelfTest uint8

// The outcomes of a self-test.
const (
	Pass   SelfTest = iota
	Fail            // the test says no: reject and restart
	Crash           // the program dies: reset
	Hang            // the program never comes back: a watchdog resets
	Online          // the test passes once the device is connected, and waits until then
	Slow            // the test passes, but takes longer than the guards of an update expect
)

// SlowTest is how long a slow self-test takes unless said otherwise: more than otaconfigSELF_TEST_RESPONSE_WAIT_MS.
const SlowTest = 30 * time.Second

var selfTestNames = [...]string{"pass", "fail", "crash", "hang", "needs-connectivity", "slow"}

func (s SelfTest) String() string { return selfTestNames[s] }

// ParseSelfTest reads an outcome by its name.
func ParseSelfTest(s string) (SelfTest, error) {
	for i, name := range selfTestNames {
		if name == s {
			return SelfTest(i), nil
		}
	}
	return 0, fmt.Errorf("firmware: unknown self-test outcome %q", s)
}

// Behaviour is what an image's program does.
type Behaviour struct {
	Version        string // label; "" is the version of the image's descriptor
	SelfTest       SelfTest
	Share          uint32        // of the devices whose self-test ends so, in parts per million; it passes on the others. 0: all
	Draw           uint64        // seed by which each device draws whether it is one of them
	Duration       time.Duration // of the self-test
	AllowDowngrade bool          // built with otaconfigAllowDowngrade
	NoWiFi         bool          // the password of the access point compiled in is wrong
	Telemetry      Telemetry
	Revokes        [][32]byte // digests of keys of secure boot V2 that the program revokes once its update is confirmed
	RevokeAtStart  bool       // and not only then
	Signer         []byte     // PEM of the code-signing certificate compiled in, used when the device has none
}

// Telemetry is what the program publishes about its work, on dt/THING/telemetry, while it is connected.
type Telemetry struct {
	Every time.Duration // 0: never
	Size  int           // bytes of a message
	QoS   byte
}

// Outcome is how the self-test ends on one thing.
func (b *Behaviour) Outcome(thing string) SelfTest {
	if b.Share == 0 {
		return b.SelfTest
	}
	h := b.Draw ^ 0xcbf29ce484222325 // FNV-1a, finished as in SplitMix64
	for i := range len(thing) {
		h = (h ^ uint64(thing[i])) * 0x100000001b3
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	if (h^h>>31)%1_000_000 < uint64(b.Share) {
		return b.SelfTest
	}
	return Pass
}

// Catalogue knows what images do. It must not change while devices use it.
type Catalogue struct {
	Others *Behaviour // what images do that were not added; nil: pass, with the version of their descriptor
	byHash map[[32]byte]*Behaviour
}

// ErrImage is returned for bytes that are no app image.
var ErrImage = errors.New("firmware: not an app image")

// Add says what the program in an image file does.
func (c *Catalogue) Add(file []byte, b Behaviour) error {
	m, verdict := image.Verify(memory(file), 0, uint32(len(file)), image.VerifyOptions{Mode: image.AppVerify, Chip: chipOf(file)})
	if verdict != image.OK {
		return fmt.Errorf("%w: %s", ErrImage, m.Why)
	}
	c.AddHash(m.SHA256, b)
	return nil
}

// AddHash is Add for the SHA-256 of an image from header to checksum.
func (c *Catalogue) AddHash(sum [32]byte, b Behaviour) {
	if c.byHash == nil {
		c.byHash = map[[32]byte]*Behaviour{}
	}
	c.byHash[sum] = &b
}

var unknown Behaviour

// Lookup returns the behaviour of an image, never nil. A nil catalogue knows no image.
func (c *Catalogue) Lookup(sum [32]byte) *Behaviour {
	if c != nil {
		if b, ok := c.byHash[sum]; ok {
			return b
		}
		if c.Others != nil {
			return c.Others
		}
	}
	return &unknown
}

// memory is an image file as a chip that holds nothing else.
type memory []byte

func (m memory) Read(addr uint32, dst []byte) error {
	n := 0
	if int64(addr) < int64(len(m)) {
		n = copy(dst, m[addr:])
	}
	for i := n; i < len(dst); i++ {
		dst[i] = 0xff
	}
	return nil
}

func chipOf(file []byte) *image.Chip {
	if h, err := image.DecodeHeader(file); err == nil {
		return image.ChipByID(h.ChipID)
	}
	return nil
}

// Version turns "1.2.3" into the number the OTA agent compares: major 8 bits, minor 8, build 16. Anything before the
// first digit is skipped, anything after the third number ignored; a missing part is 0, a too large one its maximum.
func Version(label string) uint32 {
	if i := strings.IndexAny(label, "0123456789"); i > 0 {
		label = label[i:]
	}
	var parts [3]uint64
	for i := range parts {
		end := 0
		for end < len(label) && label[end] >= '0' && label[end] <= '9' {
			end++
		}
		parts[i], _ = strconv.ParseUint(label[:end], 10, 32)
		if end == len(label) || label[end] != '.' {
			break
		}
		label = label[end+1:]
	}
	return uint32(min(parts[0], 0xff))<<24 | uint32(min(parts[1], 0xff))<<16 | uint32(min(parts[2], 0xffff))
}

// VersionText prints a version number.
func VersionText(v uint32) string {
	return fmt.Sprintf("%d.%d.%d", v>>24, v>>16&0xff, v&0xffff)
}
