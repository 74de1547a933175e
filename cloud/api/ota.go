package api

import (
	"slices"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/ota"
	"github.com/otasim/otasim/cloud/streams"
)

var streamOperations = []operation{
	{"POST", "/streams/{stream}", "CreateStream", createStream},
	{"GET", "/streams/{stream}", "DescribeStream", describeStream},
	{"PUT", "/streams/{stream}", "UpdateStream", updateStream},
	{"DELETE", "/streams/{stream}", "DeleteStream", deleteStream},
	{"GET", "/streams", "ListStreams", listStreams},
}

var otaOperations = []operation{
	{"POST", "/otaUpdates/{update}", "CreateOTAUpdate", createOTAUpdate},
	{"GET", "/otaUpdates/{update}", "GetOTAUpdate", getOTAUpdate},
	{"DELETE", "/otaUpdates/{update}", "DeleteOTAUpdate", deleteOTAUpdate},
	{"GET", "/otaUpdates", "ListOTAUpdates", listOTAUpdates},
}

func createStream(q *request) (any, error) {
	var b streams.CreateRequest
	if err := q.body(&b); err != nil {
		return nil, err
	}
	b.StreamID = q.params["stream"]
	return q.created("stream", b.StreamID, func() (any, error) { return q.c.CreateStream(q.now, b) })
}

func updateStream(q *request) (any, error) {
	var b streams.CreateRequest
	if err := q.body(&b); err != nil {
		return nil, err
	}
	b.StreamID = q.params["stream"]
	return q.c.UpdateStream(q.now, b)
}

func describeStream(q *request) (any, error) {
	info, err := q.c.DescribeStream(q.params["stream"])
	return struct {
		StreamInfo streams.Info `json:"streamInfo"`
	}{info}, err
}

func deleteStream(q *request) (any, error) {
	if err := q.c.DeleteStream(q.params["stream"]); err != nil {
		return nil, err
	}
	q.c.ForgetTags(q.c.ARN("stream", q.params["stream"]))
	return struct{}{}, nil
}

func listStreams(q *request) (any, error) {
	ascending, err := q.flag("isAscendingOrder")
	if err != nil {
		return nil, err
	}
	ids := q.c.ListStreams()
	if !ascending {
		slices.Reverse(ids)
	}
	ids, next, err := paged(q, ids)
	rows := []streams.Response{}
	for _, id := range ids {
		if i, err := q.c.DescribeStream(id); err == nil {
			rows = append(rows, streams.Response{StreamID: i.StreamID, StreamARN: i.StreamARN, Description: i.Description, StreamVersion: i.StreamVersion})
		}
	}
	return struct {
		Streams   []streams.Response `json:"streams"`
		NextToken *string            `json:"nextToken,omitempty"`
	}{rows, next}, err
}

func createOTAUpdate(q *request) (any, error) {
	var b ota.CreateRequest
	if err := q.body(&b); err != nil {
		return nil, err
	}
	b.OTAUpdateID = q.params["update"]
	return q.created("otaupdate", b.OTAUpdateID, func() (any, error) { return q.c.CreateOTAUpdate(q.now, b) })
}

func getOTAUpdate(q *request) (any, error) {
	info, err := q.c.GetOTAUpdate(q.now, q.params["update"])
	return struct {
		OTAUpdateInfo ota.Info `json:"otaUpdateInfo"`
	}{info}, err
}

func deleteOTAUpdate(q *request) (any, error) {
	stream, err := q.flag("deleteStream")
	if err != nil {
		return nil, err
	}
	force, err := q.flag("forceDeleteAWSJob")
	if err != nil {
		return nil, err
	}
	if err := q.c.DeleteOTAUpdate(q.now, q.params["update"], stream, force); err != nil {
		return nil, err
	}
	q.c.ForgetTags(q.c.ARN("otaupdate", q.params["update"]))
	return struct{}{}, nil
}

func listOTAUpdates(q *request) (any, error) {
	status := q.query.Get("otaUpdateStatus")
	if all := []string{"", ota.CreatePending, ota.CreateInProgress, ota.CreateComplete, ota.CreateFailed, ota.DeleteInProgress, ota.DeleteFailed}; !slices.Contains(all, status) {
		return nil, aws.InvalidRequest.Because("otaUpdateStatus %.40q is not a status", status)
	}
	rows, next, err := paged(q, q.c.ListOTAUpdates(status))
	return struct {
		OTAUpdates []ota.Summary `json:"otaUpdates"`
		NextToken  *string       `json:"nextToken,omitempty"`
	}{rows, next}, err
}
