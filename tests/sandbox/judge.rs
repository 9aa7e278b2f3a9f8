//! A judge that shares no code with us.

use super::*;

#[tokio::test]
async fn the_official_rust_client_works_with_it() {
    use rmcp::ServiceExt;
    use rmcp::model::CallToolRequestParams;
    use rmcp::transport::StreamableHttpClientTransport;
    use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
    // Another test of this binary may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let sandbox = memory().await;
    let endpoint = &sandbox.endpoints()[0];
    let config =
        StreamableHttpClientTransportConfig::with_uri(endpoint.url.clone()).auth_header(endpoint.key.clone());
    let client = soon(().serve(StreamableHttpClientTransport::from_config(config))).await.unwrap();
    assert_eq!(client.peer_info().unwrap().server_info.as_ref().unwrap().name, "asistry-sandbox");
    assert_eq!(soon(client.list_all_tools()).await.unwrap().len(), 7);
    let arguments = json!({"title": "From rmcp", "labels": ["Bug"]}).as_object().unwrap().clone();
    let create = CallToolRequestParams::new("create_task").with_arguments(arguments);
    let created = soon(client.call_tool(create)).await.unwrap();
    assert_eq!(created.structured_content.unwrap()["labels"], json!(["bug"]));
    let listed = soon(client.call_tool(CallToolRequestParams::new("list_tasks"))).await.unwrap();
    assert_eq!(listed.structured_content.unwrap()["tasks"][0]["title"], "From rmcp");
    client.cancel().await.unwrap();
}
