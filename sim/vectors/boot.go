package vectors

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/flashmodel/efuse"
)

type bootVector struct {
	start
	Exp struct {
		End        string   `json:"end"`
		Boot       *string  `json:"boot"`
		OTAData    []string `json:"otadata"`
		EFuse      string   `json:"efuse"`
		StartIndex *int     `json:"start_index"`
		Tried      []string `json:"tried"`
		FlashOps   uint64   `json:"flash_ops"`
	} `json:"exp"`
}

func replayBoot(t *Tables, line json.RawMessage) error {
	var v bootVector
	if err := json.Unmarshal(line, &v); err != nil {
		return err
	}
	c, err := v.chip(t, bootloader.IDF60)
	if err != nil {
		return err
	}
	got := bootloader.Boot(c.flash, &c.fuse, c.config, bootloader.PowerOn)
	after, err := c.records()
	if err != nil {
		return err
	}
	index := "null"
	if got.Selected {
		index = fmt.Sprint(got.StartIndex)
	}
	want := "null"
	if v.Exp.StartIndex != nil {
		want = fmt.Sprint(*v.Exp.StartIndex)
	}
	errs := []error{
		c.rest(),
		differ("end", got.End.String(), v.Exp.End),
		differ("start index", index, want),
		differ("started app", started(got), text(v.Exp.Boot)),
		differ("tried", strings.Join(got.Tried, " "), strings.Join(v.Exp.Tried, " ")),
		differ("eFuse", fmt.Sprintf("%08x", c.fuse.Value(efuse.SecureVersionBits)), v.Exp.EFuse),
		differ("number of flash operations", c.count(), v.Exp.FlashOps),
	}
	for i, e := range v.Exp.OTAData {
		errs = append(errs, differ(fmt.Sprintf("otadata record %d", i), after[i], e))
	}
	return errors.Join(errs...)
}

func started(v bootloader.Verdict) string {
	if v.End != bootloader.Started {
		return "null"
	}
	return text(&v.Boot)
}
