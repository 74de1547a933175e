package vectors

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/otasim/otasim/flashmodel/image"
)

type infoVector struct {
	Chip  *string        `json:"chip"`
	Input input          `json:"input"`
	SHA   string         `json:"input_sha256"`
	Exit  int            `json:"exit"`
	Info  map[string]any `json:"info"`
	Error *string        `json:"error"`
}

// replayImageInfo compares image.Info with what esptool image-info read.
func replayImageInfo(t *Tables, line json.RawMessage) error {
	var v infoVector
	if err := json.Unmarshal(line, &v); err != nil {
		return err
	}
	data, err := v.Input.bytes(t)
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != v.SHA {
		return errors.New("the input is not the one that was recorded")
	}
	chip := ""
	if v.Chip != nil {
		chip = *v.Chip
	}
	report, err := image.Info(data, chip)
	exit, class := 0, ""
	if err != nil {
		var refused *image.InfoError
		if !errors.As(err, &refused) {
			return err
		}
		exit, class = refused.Exit, refused.Class
	}
	want := ""
	if v.Error != nil {
		want = *v.Error
	}
	if exit != v.Exit || class != want {
		return fmt.Errorf("exit %d %q, want %d %q", exit, class, v.Exit, want)
	}
	if v.Info == nil || report == nil {
		return nil
	}
	return sameInfo(report, v.Info)
}

// sameInfo compares field by field; an absent field is null.
func sameInfo(report *image.InfoReport, want map[string]any) error {
	text, err := json.Marshal(report)
	if err != nil {
		return err
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		return err
	}
	delete(got, "bootloader_desc") // not recorded
	plainChip := func(v any) any {
		s, _ := v.(string)
		return strings.ToLower(strings.ReplaceAll(s, "-", ""))
	}
	want["chip"], got["chip"] = plainChip(want["chip"]), plainChip(got["chip"])
	for name := range want {
		if !reflect.DeepEqual(got[name], want[name]) {
			return fmt.Errorf("%s is %v, want %v", name, got[name], want[name])
		}
	}
	for name, value := range got {
		if _, ok := want[name]; !ok && value != nil {
			return fmt.Errorf("%s is %v, want none", name, value)
		}
	}
	return nil
}
