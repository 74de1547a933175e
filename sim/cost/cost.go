// Package cost says what a cloud account would be billed for a run: usage, metered
// as AWS meters it, times a table of prices that can be replaced.
package cost

import (
	"fmt"
	"slices"
	"strings"
)

// A Price is one row of the table.
type Price struct {
	Name   string  // key under cloud.prices of a scenario
	USD    float64 // per Per units
	Per    float64
	Unit   string
	Upto   float64 // units of a month that this row is for, counted from 0; 0: all that remain
	Source string
	Date   string // of the source
	Sure   bool   // false: recalled, not confirmed by a source at hand
}

// Names of the prices.
const (
	Messages      = "messages"
	Connectivity  = "connectivity"
	JobExecutions = "jobExecutions"
	S3Get         = "s3Get"
	S3Put         = "s3Put"
	S3Egress      = "s3Egress"
)

const (
	gib    = 1 << 30
	tib    = 1 << 40
	sample = "AWS sample document on IoT cost, us regions; test fixture of a cost tool, eu-central-1"
	notes  = "c3x.dev, article on S3 request fees; devnotes.tech, article on S3 prices"
	list   = "AWS Price List, file AmazonS3/current/eu-central-1/index.json, as a third party quotes it"
	egress = "thenegotiationexperts.com and leanopstech.com, rate cards of AWS data transfer; egresscost.com/aws"
)

// A Table is the prices of one kind of region. Rows of one name follow each other in
// the order of their tiers.
type Table struct {
	Region string // prefix of the regions it is for; "" for all others
	AsOf   string // the oldest date of its rows
	Rows   []Price
}

// Tables are the shipped prices; the first one whose prefix fits is taken, and a region
// that none is for has the first one of all. Transfer from S3 to AWS IoT in the same
// region is free, and so is DELETE. Storage of the image is not metered: a megabyte
// costs some 0.00002 USD a month.
var Tables = []Table{
	{"us-", "2025-01-16", slices.Concat(iot(1.00, 0.80, 0.70, 0.08, false), s3(0.0004, 0.005, notes, "2026", true))},
	{"eu-central-1", "2025-01-16", slices.Concat(iot(1.20, 0.96, 0.84, 0.096, true), s3(0.00043, 0.0054, list, "2026-08-31", false))},
	{"eu-", "2025-01-16", slices.Concat(iot(1.20, 0.96, 0.84, 0.096, false), s3(0.0004, 0.005, notes, "2026", false))},
}

// iot are the prices of AWS IoT: the three tiers of messages and connectivity. sure is
// for the tiers beyond the first.
func iot(first, second, third, minutes float64, sure bool) []Price {
	return []Price{
		{Messages, first, 1e6, "messages of 5 KB", 1e9, sample, "2025-01-16", true},
		{Messages, second, 1e6, "messages of 5 KB", 5e9, sample, "2025-01-16", sure},
		{Messages, third, 1e6, "messages of 5 KB", 0, sample, "2025-01-16", sure},
		{Connectivity, minutes, 1e6, "connection-minutes", 0, sample, "2025-01-16", true},
		{JobExecutions, 0.003, 1, "remote actions", 0, "recalled for the first 250,000 of a month", "2025", false},
	}
}

// s3 are the prices of requests, which differ by region, and of transfer to the
// internet, which is the same in the regions of these tables.
func s3(get, put float64, source, date string, sure bool) []Price {
	return []Price{
		{S3Get, get, 1e3, "GET, HEAD and other requests", 0, source, date, sure},
		{S3Put, put, 1e3, "PUT, COPY, POST and LIST requests", 0, source, date, sure},
		{S3Egress, 0.09, gib, "bytes to the internet", 10 * tib, egress, "2026-04", true},
		{S3Egress, 0.085, gib, "bytes to the internet", 50 * tib, egress, "2026-04", true},
		{S3Egress, 0.07, gib, "bytes to the internet", 150 * tib, egress, "2026-04", true},
		{S3Egress, 0.05, gib, "bytes to the internet", 0, egress, "2026-04", true},
	}
}

// Names lists the prices a scenario can replace.
func Names() []string {
	return []string{Messages, Connectivity, JobExecutions, S3Get, S3Put, S3Egress}
}

// Prices is the table for a region. own replaces rows by name with one price without
// tiers, in the unit of the row: US dollars per million messages, per million
// connection-minutes, per execution, per thousand requests, per GiB.
func Prices(region string, own map[string]float64) (Table, error) {
	i := max(0, slices.IndexFunc(Tables, func(t Table) bool { return strings.HasPrefix(region, t.Region) }))
	t := Tables[i]
	t.Rows = slices.Clone(t.Rows)
	for _, name := range Names() {
		usd, ok := own[name]
		if !ok {
			continue
		}
		at := slices.IndexFunc(t.Rows, func(p Price) bool { return p.Name == name })
		row := t.Rows[at]
		t.Rows = slices.DeleteFunc(t.Rows, func(p Price) bool { return p.Name == name })
		row.USD, row.Upto, row.Source, row.Date, row.Sure = usd, 0, "the scenario", "", true
		t.Rows = slices.Insert(t.Rows, at, row)
		t.AsOf = "the scenario"
	}
	for name, usd := range own {
		if !slices.Contains(Names(), name) {
			return t, fmt.Errorf("cost: price %q: want one of %s", name, strings.Join(Names(), ", "))
		}
		if usd < 0 {
			return t, fmt.Errorf("cost: price %s is %g: want 0 or more", name, usd)
		}
	}
	return t, nil
}

// Usage is what is metered.
type Usage struct {
	Messages         float64 // in units of 5 KB of topic and payload
	ConnectedMinutes float64
	JobExecutions    float64 // each retry is one more
	S3Gets, S3Puts   float64 // a PUT, COPY, POST or LIST is a put, anything else but DELETE a get
	S3EgressBytes    float64 // to devices outside the cloud
}

// Bill is the price of a usage, in US dollars.
type Bill struct {
	Messages, Connectivity, JobExecutions float64
	S3Requests, S3Transfer                float64
}

// Total adds it up.
func (b Bill) Total() float64 { return b.Messages + b.Connectivity + b.JobExecutions + b.S3() }

// S3 is its requests and transfer.
func (b Bill) S3() float64 { return b.S3Requests + b.S3Transfer }

// Bill prices a usage. The free tier is not deducted: most accounts that have a fleet
// have used it up.
func (t Table) Bill(u Usage) Bill {
	return Bill{
		Messages: t.price(Messages, u.Messages), Connectivity: t.price(Connectivity, u.ConnectedMinutes), JobExecutions: t.price(JobExecutions, u.JobExecutions),
		S3Requests: t.price(S3Get, u.S3Gets) + t.price(S3Put, u.S3Puts), S3Transfer: t.price(S3Egress, u.S3EgressBytes),
	}
}

// price walks the tiers of one row.
func (t Table) price(name string, units float64) (usd float64) {
	from := 0.0
	for _, p := range t.Rows {
		if p.Name != name || units <= from {
			continue
		}
		upto := units
		if p.Upto > 0 {
			upto = min(units, p.Upto)
		}
		usd += (upto - from) / p.Per * p.USD
		from = upto
	}
	return usd
}
