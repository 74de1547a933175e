package scenario

import (
	clouddefect "github.com/otasim/otasim/cloud/defect"
	"github.com/otasim/otasim/device/defect"
	"github.com/otasim/otasim/sim/scenario/file"
)

// Planted are the wrong implementations that a scenario plants in every device and in the cloud.
type Planted struct {
	Names  []string
	Device defect.Set
	Cloud  clouddefect.Set
}

// PlantedNames lists what can be planted, with what is wrong about it and where.
func PlantedNames() (rows [][3]string) {
	for _, r := range defect.Table {
		rows = append(rows, [3]string{r.Name, r.What, r.Where})
	}
	for _, r := range clouddefect.Table {
		rows = append(rows, [3]string{r.Name, r.What, r.Where})
	}
	return rows
}

func (b *builder) buildPlanted() {
	p := &b.s.Planted
	for _, name := range words(b.f.PlantedDefects) {
		p.Names = append(p.Names, name)
		if one, err := defect.Parse(name); err == nil {
			p.Device |= one
		} else if one, err := clouddefect.Parse(name); err == nil {
			p.Cloud |= one
		}
	}
	for _, f := range b.f.PlantedDefects {
		_, device := defect.Parse(f.Value)
		_, cloud := clouddefect.Parse(f.Value)
		if f.Node != nil && device != nil && cloud != nil {
			var names []string
			for _, r := range PlantedNames() {
				names = append(names, r[0])
			}
			help := file.DidYouMean(f.Value, names)
			if help == "" {
				help = "otasim explain planted lists them"
			}
			b.fail(f.Node, help, "unknown planted defect %q", f.Value)
		}
	}
}
