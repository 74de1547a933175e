package cloud

import (
	"slices"
	"strings"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/ota"
)

const maxTags = 50

// taggable checks that an ARN names a resource that exists and may have tags.
func (c *Cloud) taggable(arn string) (err error) {
	switch kind, name, _ := c.realm.Split(arn); kind {
	case "thinggroup":
		_, err = c.registry.DescribeThingGroup(name)
	case "thingtype":
		_, err = c.registry.DescribeThingType(name)
	case "policy":
		_, err = c.registry.GetPolicy(name)
	case "provisioningtemplate":
		_, err = c.provisioning.DescribeTemplate(name)
	case "job":
		_, err = c.jobs.DescribeJob(name)
	case "stream":
		_, err = c.streams.DescribeStream(name)
	case "otaupdate":
		_, err = c.ota.GetOTAUpdate(name)
	default:
		err = aws.InvalidRequest.Because("resourceArn %.120q: want a thing group, thing type, policy, provisioning template, job, stream or OTA update", arn)
	}
	return err
}

// CheckTags checks the tags of a request.
func CheckTags(tags []ota.Tag) error {
	for i, t := range tags {
		switch {
		case t.Key == "" || len(t.Key) > 128 || strings.HasPrefix(t.Key, "aws:") || len(t.Value) > 256:
			return aws.InvalidRequest.Because("tag %.130q: want a key of 1 to 128 characters, not beginning with aws:, and a value of up to 256", t.Key)
		case slices.ContainsFunc(tags[:i], func(x ota.Tag) bool { return x.Key == t.Key }):
			return aws.InvalidRequest.Because("tag %.130q occurs twice", t.Key)
		}
	}
	if len(tags) > maxTags {
		return aws.InvalidRequest.Because("%d tags, the limit is %d", len(tags), maxTags)
	}
	return nil
}

// TagResource sets tags of a resource; others stay.
func (c *Cloud) TagResource(arn string, tags []ota.Tag) error {
	if err := c.taggable(arn); err != nil {
		return err
	}
	if err := CheckTags(tags); err != nil {
		return err
	}
	next := slices.Clone(c.tags[arn])
	for _, t := range tags {
		if i := slices.IndexFunc(next, func(x ota.Tag) bool { return x.Key == t.Key }); i >= 0 {
			next[i] = t
		} else {
			next = append(next, t)
		}
	}
	if len(next) > maxTags {
		return aws.InvalidRequest.Because("%d tags, the limit is %d", len(next), maxTags)
	}
	if c.tags == nil {
		c.tags = map[string][]ota.Tag{}
	}
	c.tags[arn] = next
	return nil
}

// UntagResource removes tags of a resource by their keys.
func (c *Cloud) UntagResource(arn string, keys []string) error {
	if err := c.taggable(arn); err != nil {
		return err
	}
	if have := c.tags[arn]; have != nil {
		c.tags[arn] = slices.DeleteFunc(have, func(t ota.Tag) bool { return slices.Contains(keys, t.Key) })
	}
	return nil
}

// ListTagsForResource returns the tags of a resource, oldest first.
func (c *Cloud) ListTagsForResource(arn string) ([]ota.Tag, error) {
	return slices.Clone(c.tags[arn]), c.taggable(arn)
}

// ForgetTags drops the tags of a resource that is being deleted.
func (c *Cloud) ForgetTags(arn string) { delete(c.tags, arn) }
