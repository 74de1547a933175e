package partition

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/otasim/otasim/flashmodel/internal/pytext"
)

// flashSizes are the values of --flash-size, in MB.
var flashSizes = []int64{1, 2, 4, 8, 16, 32, 64, 128}

// ParseArgs reads the options as gen_esp32part.py takes them on its command
// line, "--name value" or "--name=value". A wrong number makes the tool crash;
// the other errors are its usage message.
func ParseArgs(args []string) (Options, error) {
	var o Options
	for len(args) > 0 {
		name, value, joined := strings.Cut(args[0], "=")
		args = args[1:]
		// next takes the value of an option that has one.
		next := func() string {
			if !joined && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
				value, args = args[0], args[1:]
			}
			return value
		}
		var err error
		switch name {
		case "--disable-md5sum":
			o.DisableMD5 = true
		case "--no-verify":
			o.NoVerify = true
		case "--verify", "-v", "--quiet", "-q":
		case "--offset", "-o":
			o.TableOffset, err = address(next())
		case "--primary-bootloader-offset":
			o.PrimaryBootloader, err = address(next())
		case "--recovery-bootloader-offset":
			o.RecoveryBootloader, err = address(next())
		case "--flash-size":
			o.FlashSize, err = flashSize(next())
		case "--secure":
			if o.Secure = next(); o.Secure == "" {
				o.Secure = "v1"
			}
			if o.Secure != "v1" && o.Secure != "v2" {
				err = refuse(Usage, "argument --secure: invalid choice: '%s' (choose from v1, v2)", o.Secure)
			}
		case "--extra-partition-subtypes":
			o.ExtraSubtypes = nil
			if joined {
				o.ExtraSubtypes = []string{value}
			}
			for !joined && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
				o.ExtraSubtypes, args = append(o.ExtraSubtypes, args[0]), args[1:]
			}
		default:
			err = refuse(Usage, "unrecognized arguments: %s", name)
		}
		if err != nil {
			return Options{}, err
		}
	}
	return o, nil
}

func address(s string) (*int64, error) {
	n, err := pytext.Int(s, 0)
	if err != nil {
		return nil, refuse(Crash, "%v", err)
	}
	if !n.IsInt64() {
		return nil, refuse(Crash, "address %s does not fit a table", s)
	}
	v := n.Int64()
	return &v, nil
}

func flashSize(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	mb, err := strconv.ParseInt(strings.TrimSuffix(s, "MB"), 10, 64)
	if err != nil || !slices.Contains(flashSizes, mb) || s != fmt.Sprintf("%dMB", mb) {
		return 0, refuse(Usage, "argument --flash-size: invalid choice: '%s'", s)
	}
	return mb << 20, nil
}
