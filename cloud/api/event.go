package api

import (
	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/aws"
)

// enabled is one event type's setting.
type enabled struct {
	Enabled bool `json:"Enabled"`
}

func describeEvents(q *request) (any, error) {
	e := q.c.DescribeEventConfigurations()
	out := struct {
		EventConfigurations map[string]enabled `json:"eventConfigurations"`
		CreationDate        aws.Timestamp      `json:"creationDate,omitzero"`
		LastModifiedDate    aws.Timestamp      `json:"lastModifiedDate,omitzero"`
	}{map[string]enabled{}, aws.Timestamp{Time: e.Created}, aws.Timestamp{Time: e.Modified}}
	for _, t := range cloud.EventTypes {
		out.EventConfigurations[t] = enabled{e.Enabled[t]}
	}
	return out, nil
}

func updateEvents(q *request) (any, error) {
	var b struct {
		EventConfigurations map[string]enabled `json:"eventConfigurations"`
	}
	if err := q.body(&b); err != nil {
		return nil, err
	}
	set := map[string]bool{}
	for t, e := range b.EventConfigurations {
		set[t] = e.Enabled
	}
	return struct{}{}, q.c.UpdateEventConfigurations(q.now, set)
}
