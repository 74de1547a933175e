package api

import (
	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/registry"
)

var thingOperations = []operation{
	{"POST", "/things/{thing}", "CreateThing", createThing},
	{"GET", "/things/{thing}", "DescribeThing", describeThing},
	{"PATCH", "/things/{thing}", "UpdateThing", updateThing},
	{"DELETE", "/things/{thing}", "DeleteThing", deleteThing},
	{"GET", "/things", "ListThings", listThings},
	{"PUT", "/things/{thing}/principals", "AttachThingPrincipal", attachThingPrincipal},
	{"DELETE", "/things/{thing}/principals", "DetachThingPrincipal", detachThingPrincipal},
	{"GET", "/things/{thing}/principals", "ListThingPrincipals", listThingPrincipals},
	{"GET", "/principals/things", "ListPrincipalThings", listPrincipalThings},
	{"GET", "/endpoint", "DescribeEndpoint", describeEndpoint},
}

type thingBody struct {
	ThingTypeName    string                     `json:"thingTypeName"`
	AttributePayload *registry.AttributePayload `json:"attributePayload"`
	BillingGroupName string                     `json:"billingGroupName"`
	ExpectedVersion  int64                      `json:"expectedVersion"`
	RemoveThingType  bool                       `json:"removeThingType"`
}

func createThing(q *request) (any, error) {
	var b thingBody
	if err := q.body(&b); err != nil {
		return nil, err
	}
	if b.BillingGroupName != "" {
		return nil, aws.ResourceNotFound.Because("Billing group %.80q cannot be found.", b.BillingGroupName)
	}
	var attributes map[string]string
	if b.AttributePayload != nil {
		attributes = b.AttributePayload.Attributes
	}
	d, err := q.c.CreateThing(q.now, q.params["thing"], b.ThingTypeName, attributes)
	if err != nil {
		return nil, err
	}
	return struct {
		ThingName string `json:"thingName"`
		ThingARN  string `json:"thingArn"`
		ThingID   string `json:"thingId"`
	}{d.ThingName, d.ThingARN, d.ThingID}, nil
}

func describeThing(q *request) (any, error) { return q.c.DescribeThing(q.now, q.params["thing"]) }

func updateThing(q *request) (any, error) {
	var b thingBody
	if err := q.body(&b); err != nil {
		return nil, err
	}
	u := registry.ThingUpdate{TypeName: b.ThingTypeName, RemoveType: b.RemoveThingType, ExpectedVersion: b.ExpectedVersion}
	if p := b.AttributePayload; p != nil {
		u.Attributes, u.Merge = p.Attributes, p.Merge
		if u.Attributes == nil {
			u.Attributes = map[string]string{}
		}
	}
	return nil, q.c.UpdateThing(q.now, q.params["thing"], u)
}

func deleteThing(q *request) (any, error) {
	want, err := q.number("expectedVersion")
	if err != nil {
		return nil, err
	}
	name := q.params["thing"]
	if d, err := q.c.Registry().DescribeThing(name); err == nil && want != 0 && want != d.Version {
		return nil, aws.VersionConflict.Because("expectedVersion %d, thing %s has version %d", want, name, d.Version)
	}
	return nil, q.c.DeleteThing(q.now, name)
}

func listThings(q *request) (any, error) {
	prefix, err := q.flag("usePrefixAttributeValue")
	if err != nil {
		return nil, err
	}
	all := q.c.Registry().FindThings(registry.ThingFilter{AttributeName: q.query.Get("attributeName"), AttributeValue: q.query.Get("attributeValue"),
		Prefix: prefix, TypeName: q.query.Get("thingTypeName")})
	rows, next, err := paged(q, all)
	if err != nil {
		return nil, err
	}
	type thing struct {
		ThingName     string            `json:"thingName"`
		ThingTypeName string            `json:"thingTypeName,omitempty"`
		ThingARN      string            `json:"thingArn"`
		Attributes    map[string]string `json:"attributes"`
		Version       int64             `json:"version"`
	}
	out := struct {
		Things    []thing `json:"things"`
		NextToken *string `json:"nextToken,omitempty"`
	}{[]thing{}, next}
	for _, d := range rows {
		if d.Attributes == nil {
			d.Attributes = map[string]string{}
		}
		out.Things = append(out.Things, thing{d.ThingName, d.ThingTypeName, d.ThingARN, d.Attributes, d.Version})
	}
	return out, nil
}

// principal is the certificate that a header names.
func (q *request) principal() (string, error) {
	p := q.call.Header.Get("X-Amzn-Principal")
	if p == "" {
		return "", aws.InvalidRequest.Because("header x-amzn-principal is required")
	}
	return p, nil
}

func attachThingPrincipal(q *request) (any, error) {
	p, err := q.principal()
	if err != nil {
		return nil, err
	}
	kind := q.query.Get("thingPrincipalType")
	if kind != "" && kind != "EXCLUSIVE_THING" && kind != "NON_EXCLUSIVE_THING" {
		return nil, aws.InvalidRequest.Because("thingPrincipalType %.40q: want EXCLUSIVE_THING or NON_EXCLUSIVE_THING", kind)
	}
	return struct{}{}, q.c.Registry().AttachThingPrincipal(q.params["thing"], p, kind == "EXCLUSIVE_THING")
}

func detachThingPrincipal(q *request) (any, error) {
	p, err := q.principal()
	if err != nil {
		return nil, err
	}
	return struct{}{}, q.c.DetachThingPrincipal(q.params["thing"], p)
}

func listThingPrincipals(q *request) (any, error) {
	all, err := q.c.Registry().ListThingPrincipals(q.params["thing"])
	if err != nil {
		return nil, err
	}
	rows, next, err := paged(q, all)
	return struct {
		Principals []string `json:"principals"`
		NextToken  *string  `json:"nextToken,omitempty"`
	}{rows, next}, err
}

func listPrincipalThings(q *request) (any, error) {
	p, err := q.principal()
	if err != nil {
		return nil, err
	}
	all, err := q.c.Registry().ListPrincipalThings(p)
	if err != nil {
		return nil, err
	}
	return thingNames(q, all)
}

func thingNames(q *request, all []string) (any, error) {
	rows, next, err := paged(q, all)
	return struct {
		Things    []string `json:"things"`
		NextToken *string  `json:"nextToken,omitempty"`
	}{rows, next}, err
}

func describeEndpoint(q *request) (any, error) {
	address := ""
	switch kind := q.query.Get("endpointType"); kind {
	case "", "iot:Data", "iot:Data-ATS":
		address = q.opt.DataEndpoint
	case "iot:Jobs":
		address = q.opt.JobsEndpoint
	case "iot:CredentialProvider":
		address = q.opt.CredentialEndpoint
	default:
		return nil, aws.InvalidRequest.Because("endpointType %.40q: want iot:Data, iot:Data-ATS, iot:Jobs or iot:CredentialProvider", kind)
	}
	if address == "" {
		return nil, aws.InvalidRequest.Because("This cloud has no endpoint of type %s.", q.query.Get("endpointType"))
	}
	return struct {
		EndpointAddress string `json:"endpointAddress"`
	}{address}, nil
}
