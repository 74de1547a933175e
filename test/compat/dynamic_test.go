package compat

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud"
)

// settle does what is due on the wall's clock, until done.
func (w *world) settle(t *testing.T, done func() bool) {
	require.Eventually(t, func() bool {
		_ = w.core.Do(nil, func(time.Time, *cloud.Cloud) error { return nil })
		return done()
	}, 10*time.Second, 50*time.Millisecond)
}

func TestDynamicGroup(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	_, err := w.iot.CreateDynamicThingGroup(ctx, &iot.CreateDynamicThingGroupInput{ThingGroupName: aws.String("b"), QueryString: aws.String("attributes.hw:b")})
	require.Equal(t, "InvalidRequestException", code(err))
	_, err = w.iot.UpdateIndexingConfiguration(ctx, &iot.UpdateIndexingConfigurationInput{ThingIndexingConfiguration: &iottypes.ThingIndexingConfiguration{
		ThingIndexingMode: iottypes.ThingIndexingModeRegistryAndShadow, NamedShadowIndexingMode: iottypes.NamedShadowIndexingModeOn,
		Filter: &iottypes.IndexingFilter{NamedShadowNames: []string{"$package"}}}})
	require.NoError(t, err)
	config, err := w.iot.GetIndexingConfiguration(ctx, &iot.GetIndexingConfigurationInput{})
	require.NoError(t, err)
	require.Equal(t, []string{"$package"}, config.ThingIndexingConfiguration.Filter.NamedShadowNames)
	for name, hw := range map[string]string{"t1": "b", "t2": "c"} {
		_, err := w.iot.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String(name), AttributePayload: &iottypes.AttributePayload{Attributes: map[string]string{"hw": hw}}})
		require.NoError(t, err)
	}
	_, err = w.iot.CreateDynamicThingGroup(ctx, &iot.CreateDynamicThingGroupInput{ThingGroupName: aws.String("b"), QueryString: aws.String("attributes.hw:(b")})
	var invalid *iottypes.InvalidQueryException
	require.ErrorAs(t, err, &invalid)
	group, err := w.iot.CreateDynamicThingGroup(ctx, &iot.CreateDynamicThingGroupInput{ThingGroupName: aws.String("b"), QueryString: aws.String("attributes.hw:b")})
	require.NoError(t, err)
	require.Equal(t, "2017-09-30", *group.QueryVersion)
	w.settle(t, func() bool {
		d, err := w.iot.DescribeThingGroup(ctx, &iot.DescribeThingGroupInput{ThingGroupName: aws.String("b")})
		return err == nil && d.Status == iottypes.DynamicGroupStatusActive
	})
	things, err := w.iot.ListThingsInThingGroup(ctx, &iot.ListThingsInThingGroupInput{ThingGroupName: aws.String("b")})
	require.NoError(t, err)
	require.Equal(t, []string{"t1"}, things.Things)
	found, err := w.iot.SearchIndex(ctx, &iot.SearchIndexInput{QueryString: aws.String("attributes.hw:*")})
	require.NoError(t, err)
	require.Len(t, found.Things, 2)
	updated, err := w.iot.UpdateDynamicThingGroup(ctx, &iot.UpdateDynamicThingGroupInput{ThingGroupName: aws.String("b"), ThingGroupProperties: &iottypes.ThingGroupProperties{}, QueryString: aws.String("thingName:t*")})
	require.NoError(t, err)
	require.EqualValues(t, 2, updated.Version)
	_, err = w.iot.DeleteDynamicThingGroup(ctx, &iot.DeleteDynamicThingGroupInput{ThingGroupName: aws.String("b")})
	require.NoError(t, err)
}

func TestProvisioningTemplate(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	const body = `{"Resources":{"c":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"}}}}}`
	created, err := w.iot.CreateProvisioningTemplate(ctx, &iot.CreateProvisioningTemplateInput{TemplateName: aws.String("fleet"), TemplateBody: aws.String(body),
		ProvisioningRoleArn: aws.String("arn:aws:iam::123456789012:role/provisioning"), Enabled: aws.Bool(true)})
	require.NoError(t, err)
	require.EqualValues(t, 1, *created.DefaultVersionId)
	d, err := w.iot.DescribeProvisioningTemplate(ctx, &iot.DescribeProvisioningTemplateInput{TemplateName: aws.String("fleet")})
	require.NoError(t, err)
	require.Equal(t, body, *d.TemplateBody)
	require.WithinDuration(t, time.Now(), *d.CreationDate, time.Minute)
	claim, err := w.iot.CreateProvisioningClaim(ctx, &iot.CreateProvisioningClaimInput{TemplateName: aws.String("fleet")})
	require.NoError(t, err)
	require.NotEmpty(t, *claim.KeyPair.PrivateKey)
	require.WithinDuration(t, time.Now().Add(5*time.Minute), *claim.Expiration, time.Minute)
	_, err = w.iot.DeleteProvisioningTemplate(ctx, &iot.DeleteProvisioningTemplateInput{TemplateName: aws.String("fleet")})
	require.NoError(t, err)
}
