use super::*;

fn check(error: Error, status: u16, body: &str) {
    assert_eq!((error.status(), error.body().as_str()), (status, body));
}

fn app() -> PathId {
    "/db/main".parse().unwrap()
}

#[test]
fn ma_25_ma_26_errors_have_marathons_shape() {
    check(
        Error::NotJson { what: "EOF".into() },
        400,
        r#"{"message":"Invalid JSON","details":[{"path":"/","errors":["EOF"]}]}"#,
    );
    check(Error::NoApp { id: app(), version: None }, 404, r#"{"message":"App '/db/main' does not exist"}"#);
    check(
        Error::NoApp { id: app(), version: Some(Timestamp(1_448_893_831_001)) },
        404,
        r#"{"message":"App '/db/main' does not exist in version 2015-11-30T14:30:31.001Z"}"#,
    );
    check(Error::AppExists(app()), 409, r#"{"message":"An app with id [/db/main] already exists."}"#);
    check(
        Error::Locked { deployments: vec!["97c136bf".into(), "5a28".into()] },
        409,
        "{\"message\":\"App is locked by one or more deployments. Override with the option '?force=true'. \
         View details at '/v2/deployments/<DEPLOYMENT_ID>'.\",\"deployments\":[{\"id\":\"97c136bf\"},{\"id\":\"5a28\"}]}",
    );
    check(
        Error::invalid("/healthChecks(0)/path", "is odd"),
        422,
        r#"{"message":"Object is not valid","details":[{"path":"/healthChecks(0)/path","errors":["is odd"]}]}"#,
    );
    assert_eq!(Error::TooManyDeployments.status(), 403);
    assert_eq!(Error::Unavailable("no leader".into()).status(), 503);
    assert_eq!(Error::NoRoute.status(), 404);
}
