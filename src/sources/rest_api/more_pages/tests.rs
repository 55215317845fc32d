//! The answers of real APIs, as their documentation shows them, cut to what matters: the first page of
//! several, the last one, and an answer that is all there is.

use reqwest::Url;
use reqwest::header::HeaderMap;

use super::super::data_selector::DataSelector;
use super::super::http::said::Said;
use super::*;
use crate::domain::hash::ContentHash;

const ASKED: &str = "https://api.example.com/v1/things?limit=2&key=k";

fn last_page<T>(
    selector: &str,
    status: u16,
    headers: &HeaderMap,
    body: &str,
    look: fn(&LastPage<'_>) -> T,
) -> T {
    let selector = DataSelector::new(selector).unwrap();
    let (asked, records) = (Url::parse(ASKED).unwrap(), selector.select(body).unwrap());
    let hash = ContentHash::of(body.as_bytes());
    let page = PageView {
        asked: &asked,
        status: 200,
        headers,
        body,
        hash,
        came: records.len(),
        records: &records,
        said: Said::Page,
        keys: None,
        complaint: None,
    };
    look(&LastPage { page, status, place: &selector.place, end_values: &[], asks_for_news: false })
}

fn answered(selector: &str, status: u16, headers: &HeaderMap, body: &str) -> Option<String> {
    last_page(selector, status, headers, body, |page| page.evidence_of_more())
}

fn seen(selector: &str, body: &str) -> Option<String> {
    answered(selector, 200, &HeaderMap::new(), body)
}

/// What shows behind a page that is the last by count.
fn said(selector: &str, body: &str) -> Option<String> {
    last_page(selector, 200, &HeaderMap::new(), body, |page| page.says_more())
}

fn of(headers: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: reqwest::header::HeaderName = name.parse().unwrap();
        map.append(name, value.parse().unwrap());
    }
    map
}

/// Name, selector, a body with more pages, what is seen, and the body of a last page.
#[rustfmt::skip]
const BODIES: [(&str, &str, &str, &str, &str); 51] = [
        ("Cloudflare", "$.result[*]", r#"{"success":true,"result":[{},{}],"result_info":{"page":1,"per_page":2,"total_pages":100,"count":2,"total_count":200}}"#,
            "`result_info.total_pages` is 100", r#"{"success":true,"result":[{},{}],"result_info":{"page":100,"per_page":2,"total_pages":100,"count":2,"total_count":200}}"#),
        ("Meilisearch", "$.hits[*]", r#"{"hits":[{},{}],"offset":0,"limit":2,"estimatedTotalHits":66,"processingTimeMs":1}"#,
            "`estimatedTotalHits` is 66, and it has 2 records", r#"{"hits":[{},{}],"offset":64,"limit":2,"estimatedTotalHits":66,"processingTimeMs":1}"#),
        ("Zendesk's export", "$.tickets[*]", r#"{"tickets":[{},{}],"after_url":"https://a","end_of_stream":false}"#,
            "it says so in `end_of_stream`", r#"{"tickets":[{},{}],"after_url":"https://a","end_of_stream":true}"#),
        ("Plaid", "$.transactions[*]", r#"{"accounts":[],"transactions":[{},{}],"total_transactions":1500}"#,
            "`total_transactions` is 1500, and it has 2 records", r#"{"accounts":[],"transactions":[{},{}],"total_transactions":2}"#),
        ("a count of rows", "$.rows[*]", r#"{"rows":[{},{},{},{},{},{},{},{},{},{}],"rowcount":512}"#,
            "`rowcount` is 512, and it has 10 records", r#"{"rows":[{},{}],"rowcount":2}"#),
        ("monday.com", "$.data.boards[0].items_page.items[*]", r#"{"data":{"boards":[{"items_page":{"cursor":"MSw5NzI4","items":[{}]}}]}}"#,
            "it has a `data.boards[0].items_page.cursor`", r#"{"data":{"boards":[{"items_page":{"cursor":null,"items":[{}]}}]}}"#),
        ("NOAA", "$.results[*]", r#"{"metadata":{"resultset":{"offset":1,"count":38871,"limit":2}},"results":[{},{}]}"#,
            "`metadata.resultset.count` is 38871, and it has 2 records", r#"{"metadata":{"resultset":{"offset":1,"count":2,"limit":25}},"results":[{},{}]}"#),
        ("Bitbucket Server", "$.values[*]", r#"{"size":2,"limit":2,"isLastPage":false,"values":[{},{}],"start":0,"nextPageStart":2}"#,
            "it says so in `isLastPage`", r#"{"size":2,"limit":2,"isLastPage":true,"values":[{},{}],"start":4,"nextPageStart":null}"#),
        ("Stripe", "$.data[*]", r#"{"object":"list","url":"/v1/charges","has_more":true,"data":[{"id":1}]}"#,
            "it says so in `has_more`", r#"{"object":"list","url":"/v1/charges","has_more":false,"data":[{"id":1}]}"#),
        ("Django REST framework", "$.results[*]", r#"{"count":1023,"next":"https://a/?page=2","previous":null,"results":[{},{}]}"#,
            "it says so in `next`", r#"{"count":1023,"next":null,"previous":"https://a/?page=4","results":[{},{}]}"#),
        ("HubSpot", "$.results[*]", r#"{"results":[{}],"paging":{"next":{"after":"NTI1","link":"?after=NTI1"}}}"#,
            "it says so in `paging.next`", r#"{"results":[{}]}"#),
        ("Notion", "$.results[*]", r#"{"object":"list","results":[{}],"next_cursor":"33e19cb9","has_more":true,"type":"page","page":{}}"#,
            "it says so in `has_more`", r#"{"object":"list","results":[{}],"next_cursor":null,"has_more":false,"type":"page","page":{}}"#),
        ("Slack", "$.members[*]", r#"{"ok":true,"members":[{}],"response_metadata":{"next_cursor":"dXNlcjpVMEc="}}"#,
            "it says so in `response_metadata.next_cursor`", r#"{"ok":true,"members":[{}],"response_metadata":{"next_cursor":""}}"#),
        ("Laravel", "$.data[*]", r#"{"data":[{}],"links":{"first":"?page=1","last":"?page=9","prev":null,"next":"?page=2"},"meta":{"current_page":1,"last_page":9,"per_page":1,"total":9}}"#,
            "it says so in `links.next`", r#"{"data":[{}],"links":{"first":"?page=1","last":"?page=9","prev":"?page=8","next":null},"meta":{"current_page":9,"last_page":9,"per_page":1,"total":9}}"#),
        ("Spring", "$.content[*]", r#"{"content":[{}],"totalElements":2,"totalPages":2,"last":false,"number":0,"first":true}"#,
            "it says so in `last`", r#"{"content":[{}],"totalElements":2,"totalPages":2,"last":true,"number":1,"first":false}"#),
        ("Spring HATEOAS", "$._embedded.users[*]", r#"{"_embedded":{"users":[{}]},"_links":{"self":{"href":"/users"},"next":{"href":"/users?page=1"}},"page":{"size":1,"totalElements":5,"totalPages":5,"number":0}}"#,
            "it says so in `_links.next`", r#"{"_embedded":{"users":[{}]},"_links":{"self":{"href":"/users"}},"page":{"size":1,"totalElements":1,"totalPages":1,"number":0}}"#),
        ("GraphQL", "$.data.products.nodes[*]", r#"{"data":{"products":{"nodes":[{}],"pageInfo":{"hasNextPage":true,"endCursor":"x"}}}}"#,
            "it says so in `data.products.pageInfo.hasNextPage`", r#"{"data":{"products":{"nodes":[{}],"pageInfo":{"hasNextPage":false,"endCursor":"x"}}}}"#),
        ("OData", "$.value[*]", r#"{"@odata.context":"x","value":[{}],"@odata.nextLink":"https://a?$skip=1"}"#,
            "it says so in `@odata.nextLink`", r#"{"@odata.context":"x","value":[{}]}"#),
        ("Jira", "$.issues[*]", r#"{"startAt":0,"maxResults":50,"total":200,"issues":[{},{}]}"#,
            "`total` is 200, and it has 2 records", r#"{"startAt":198,"maxResults":50,"total":200,"issues":[{},{}]}"#),
        ("Zendesk", "$.users[*]", r#"{"users":[{}],"meta":{"has_more":true,"after_cursor":"x"},"links":{"next":"https://a"}}"#,
            "it says so in `meta.has_more`", r#"{"users":[{}],"meta":{"has_more":false,"after_cursor":"x"},"links":{"next":null}}"#),
        ("PayPal", "$.items[*]", r#"{"items":[{}],"total_pages":3,"links":[{"rel":"self","href":"a"},{"rel":"next","href":"b"}]}"#,
            "it says so in `links.next`", r#"{"items":[{}],"total_pages":1,"links":[{"rel":"self","href":"a"}]}"#),
        ("Square", "$.objects[*]", r#"{"objects":[{}],"cursor":"Bw=="}"#,
            "it has a `cursor`", r#"{"objects":[{}]}"#),
        ("Elasticsearch", "$.hits.hits[*]", r#"{"took":1,"hits":{"total":{"value":10000,"relation":"gte"},"hits":[{},{}]}}"#,
            "`hits.total` is 10000, and it has 2 records", r#"{"took":1,"hits":{"total":{"value":2,"relation":"eq"},"hits":[{},{}]}}"#),
        ("ArcGIS", "$.features[*]", r#"{"exceededTransferLimit":true,"features":[{}]}"#,
            "it says so in `exceededTransferLimit`", r#"{"features":[{}]}"#),
        ("MediaWiki", "$.query.pages[*]", r#"{"continue":{"apcontinue":"B","continue":"-||"},"query":{"pages":[{}]}}"#,
            "it says so in `continue`", r#"{"batchcomplete":"","query":{"pages":[{}]}}"#),
        ("Kubernetes", "$.items[*]", r#"{"metadata":{"continue":"eyJ2","remainingItemCount":40},"items":[{}]}"#,
            "it says so in `metadata.continue`", r#"{"metadata":{"continue":"","resourceVersion":"7"},"items":[{}]}"#),
        ("DynamoDB", "$.Items[*]", r#"{"Items":[{}],"LastEvaluatedKey":{"id":{"S":"7"}}}"#,
            "it says so in `LastEvaluatedKey`", r#"{"Items":[{}]}"#),
        ("Plaid, with a cursor for the next time", "$.added[*]", r#"{"added":[{}],"has_more":true,"next_cursor":"a"}"#,
            "it says so in `has_more`", r#"{"added":[{}],"has_more":false,"next_cursor":"b"}"#),
        ("truth as text or number", "$.items[*]", r#"{"hasMore":"true","has_next":0,"items":[{}]}"#,
            "it says so in `hasMore`", r#"{"hasMore":"False","next":"x","items":[{}]}"#),
        ("a plain count of pages", "$.items[*]", r#"{"page":1,"pages":"4","items":[{}]}"#,
            "`pages` is 4", r#"{"page":4,"pages":"4","items":[{}]}"#),
        ("World Bank", "$[1][*]", r#"[{"page":1,"pages":7,"per_page":"50","total":304},[{},{}]]"#,
            "`[0].pages` is 7", r#"[{"page":7,"pages":7,"per_page":"50","total":304},[{},{}]]"#),
        ("a list of answers", "$.data[0].items[*]", r#"{"data":[{"items":[{},{}],"has_more":true}]}"#,
            "it says so in `data[0].has_more`", r#"{"data":[{"items":[{},{}],"has_more":false}]}"#),
        ("Reddit", "$.data.children[*]", r#"{"kind":"Listing","data":{"after":"t3_1abc","dist":2,"children":[{},{}],"before":null}}"#,
            "it has a `data.after`", r#"{"kind":"Listing","data":{"after":null,"dist":2,"children":[{},{}],"before":"t3_1abb"}}"#),
        ("Algolia, whose pages begin with 0", "$.hits[*]", r#"{"hits":[{},{}],"page":0,"nbHits":9,"nbPages":5,"hitsPerPage":2}"#,
            "`nbPages` is 5", r#"{"hits":[{}],"page":4,"nbHits":9,"nbPages":5,"hitsPerPage":2}"#),
        ("Salesforce", "$.records[*]", r#"{"totalSize":3214,"done":false,"nextRecordsUrl":"/services/data/v61.0/query/01g-2000","records":[{},{}]}"#,
            "it says so in `nextRecordsUrl`", r#"{"totalSize":3214,"done":true,"records":[{},{}]}"#),
        ("Airtable", "$.records[*]", r#"{"records":[{},{}],"offset":"itrQ1x7/recK29a"}"#,
            "it has a `offset`", r#"{"records":[{},{}]}"#),
        ("Intercom", "$.data[*]", r#"{"type":"list","data":[{}],"total_count":3,"pages":{"type":"pages","page":1,"next":{"page":2,"starting_after":"x"},"per_page":1,"total_pages":3}}"#,
            "it says so in `pages.next`", r#"{"type":"list","data":[{}],"total_count":3,"pages":{"type":"pages","page":3,"per_page":1,"total_pages":3}}"#),
        ("FHIR", "$.entry[*]", r#"{"resourceType":"Bundle","total":9,"link":[{"relation":"self","url":"https://a/P"},{"relation":"next","url":"https://a/P?page=2"}],"entry":[{},{}]}"#,
            "it says so in `link.next`", r#"{"resourceType":"Bundle","total":2,"link":[{"relation":"self","url":"https://a/P"}],"entry":[{},{}]}"#),
        ("Pipedrive", "$.data[*]", r#"{"success":true,"data":[{}],"additional_data":{"pagination":{"start":0,"limit":1,"more_items_in_collection":true,"next_start":1}}}"#,
            "it says so in `additional_data.pagination.more_items_in_collection`", r#"{"success":true,"data":[{}],"additional_data":{"pagination":{"start":9,"limit":1,"more_items_in_collection":false}}}"#),
        ("GitHub's search", "$.items[*]", r#"{"total_count":40,"incomplete_results":false,"items":[{},{}]}"#,
            "`total_count` is 40, and it has 2 records", r#"{"total_count":2,"incomplete_results":false,"items":[{},{}]}"#),
        ("OpenAlex", "$.results[*]", r#"{"meta":{"count":251,"db_response_time_ms":9,"page":1,"per_page":2},"results":[{},{}]}"#,
            "`meta.count` is 251, and it has 2 records", r#"{"meta":{"count":2,"db_response_time_ms":9,"page":1,"per_page":25},"results":[{},{}]}"#),
        ("Hasura", "$.data.items[*]", r#"{"data":{"items":[{},{}],"items_aggregate":{"aggregate":{"count":237}}}}"#,
            "`data.items_aggregate.aggregate.count` is 237, and it has 2 records", r#"{"data":{"items":[{},{}],"items_aggregate":{"aggregate":{"count":2}}}}"#),
        ("json-graphql-server", "$.data.allItems[*]", r#"{"data":{"allItems":[{},{}],"_allItemsMeta":{"count":237}}}"#,
            "`data._allItemsMeta.count` is 237, and it has 2 records", r#"{"data":{"allItems":[{},{}],"_allItemsMeta":{"count":2}}}"#),
        ("CKAN", "$.result.results[*]", r#"{"success":true,"result":{"count":3021,"facets":{},"results":[{},{},{},{},{},{},{},{},{},{}]}}"#,
            "`result.count` is 3021, and it has 10 records", r#"{"success":true,"result":{"count":1,"facets":{},"results":[{}]}}"#),
        ("openFDA", "$.results[*]", r#"{"meta":{"disclaimer":"x","results":{"skip":0,"limit":1,"total":26000}},"results":[{}]}"#,
            "`meta.results.total` is 26000, and it has 1 records", r#"{"meta":{"disclaimer":"x","results":{"skip":0,"limit":10,"total":1}},"results":[{}]}"#),
        ("CoinMarketCap", "$.data[*]", r#"{"status":{"error_code":0,"total_count":9800},"data":[{},{}]}"#,
            "`status.total_count` is 9800, and it has 2 records", r#"{"status":{"error_code":0,"total_count":2},"data":[{},{}]}"#),
        ("Rick and Morty", "$.results[*]", r#"{"info":{"count":826,"pages":42,"next":"https://a/?page=2","prev":null},"results":[{}]}"#,
            "it says so in `info.next`", r#"{"info":{"count":826,"pages":42,"next":null,"prev":"https://a/?page=41"},"results":[{}]}"#),
        ("Open Library", "$.docs[*]", r#"{"numFound":629,"start":0,"docs":[{},{}]}"#,
            "`numFound` is 629, and it has 2 records", r#"{"numFound":629,"start":627,"docs":[{},{}]}"#),
        ("Guardian", "$.response.results[*]", r#"{"response":{"status":"ok","total":72,"startIndex":1,"pageSize":2,"currentPage":1,"pages":36,"results":[{},{}]}}"#,
            "`response.pages` is 36", r#"{"response":{"status":"ok","total":72,"startIndex":71,"pageSize":2,"currentPage":36,"pages":36,"results":[{},{}]}}"#),
        ("YouTube", "$.items[*]", r#"{"nextPageToken":"CAUQAA","pageInfo":{"totalResults":9,"resultsPerPage":1},"items":[{}]}"#,
            "it says so in `nextPageToken`", r#"{"prevPageToken":"CAEQAQ","pageInfo":{"totalResults":1,"resultsPerPage":1},"items":[{}]}"#),
        ("Yelp", "$.businesses[*]", r#"{"businesses":[{},{}],"total":240,"region":{"center":{}}}"#,
            "`total` is 240, and it has 2 records", r#"{"businesses":[{},{}],"total":2,"region":{"center":{}}}"#),
];

type Headers = &'static [(&'static str, &'static str)];

/// Name, status and headers of a first page, what is seen, and status and headers of a last page.
const HEADERS: [(&str, u16, Headers, &str, u16, Headers); 18] = [
    (
        "a total without a mark",
        200,
        &[("Total-Count", "64")],
        "its header `Total-Count` is 64, and it has 2 records",
        200,
        &[("Total-Count", "2")],
    ),
    (
        "GitLab",
        200,
        &[("X-Next-Page", "2"), ("X-Page", "1"), ("X-Total", "9"), ("X-Total-Pages", "5")],
        "it says so in its header `X-Next-Page`",
        200,
        &[("X-Next-Page", ""), ("X-Page", "5"), ("X-Total", "9"), ("X-Total-Pages", "5")],
    ),
    (
        "a count of pages",
        200,
        &[("X-Total-Pages", "7")],
        "its header `X-Total-Pages` is 7",
        200,
        &[("X-Total-Pages", "7"), ("X-Page", "7")],
    ),
    (
        "WordPress",
        200,
        &[("X-WP-Total", "21"), ("X-WP-TotalPages", "3")],
        "its header `X-WP-TotalPages` is 3",
        200,
        &[("X-WP-Total", "2"), ("X-WP-TotalPages", "1")],
    ),
    (
        "json-server",
        200,
        &[("X-Total-Count", "100")],
        "its header `X-Total-Count` is 100, and it has 2 records",
        200,
        &[("X-Total-Count", "2")],
    ),
    (
        "a yes",
        200,
        &[("X-Has-More", "true")],
        "it says so in its header `X-Has-More`",
        200,
        &[("X-Has-More", "false"), ("X-Next-Cursor", "for-later")],
    ),
    (
        "a cursor",
        200,
        &[("X-Next-Cursor", "bGFzdA")],
        "it says so in its header `X-Next-Cursor`",
        200,
        &[("X-Next-Cursor", "")],
    ),
    (
        "ASP.NET",
        200,
        &[(
            "X-Pagination",
            r#"{"TotalCount":9,"PageSize":2,"CurrentPage":1,"TotalPages":5,"HasNext":true}"#,
        )],
        "it says so in its header `X-Pagination`",
        200,
        &[(
            "X-Pagination",
            r#"{"TotalCount":9,"PageSize":2,"CurrentPage":5,"TotalPages":5,"HasNext":false}"#,
        )],
    ),
    (
        "GoREST",
        200,
        &[("X-Pagination-Limit", "2"), ("X-Pagination-Page", "1"), ("X-Pagination-Pages", "9")],
        "its header `X-Pagination-Pages` is 9",
        200,
        &[("X-Pagination-Limit", "2"), ("X-Pagination-Page", "9"), ("X-Pagination-Pages", "9")],
    ),
    (
        "Content-Range",
        200,
        &[("Content-Range", "items 0-24/100")],
        "by its header `Content-Range` there are 100 records",
        200,
        &[("Content-Range", "items 75-99/100")],
    ),
    (
        "PostgREST",
        206,
        &[("Content-Range", "0-24/3573458")],
        "by its header `Content-Range` there are 3573458 records",
        206,
        &[("Content-Range", "3573450-3573457/3573458")],
    ),
    (
        "PostgREST without a count",
        206,
        &[("Content-Range", "0-24/*")],
        "its status is 206, which is a part only",
        200,
        &[("Content-Range", "0-1/*")],
    ),
    ("a part", 206, &[], "its status is 206, which is a part only", 200, &[]),
    (
        "Heroku",
        206,
        &[("Next-Range", "id ]01234567..; max=2")],
        "it has a header `Next-Range`",
        200,
        &[],
    ),
    (
        "GitHub",
        200,
        &[(
            "Link",
            "<https://api.github.com/repositories/1/issues?page=2>; rel=\"next\", \
             <https://api.github.com/repositories/1/issues?page=9>; rel=\"last\"",
        )],
        "its header `Link` has rel=\"next\"",
        200,
        &[("Link", "<https://api.github.com/repositories/1/issues?page=8>; rel=\"prev\"")],
    ),
    (
        "Shopify",
        200,
        &[("Link", "<https://x.myshopify.com/p.json?limit=3&page_info=a;b,c>; rel=next")],
        "its header `Link` has rel=\"next\"",
        200,
        &[("Link", "<https://x.myshopify.com/p.json?rel=next>; rel=\"previous\"")],
    ),
    (
        "Sentry",
        200,
        &[
            ("Link", "<https://sentry.io/?&cursor=0:0:1>; rel=\"previous\"; results=\"false\""),
            ("Link", "<https://sentry.io/?&cursor=0:100:0>; rel=\"next\"; results=\"true\""),
        ],
        "its header `Link` has rel=\"next\"",
        200,
        &[(
            "Link",
            "<https://sentry.io/?&cursor=0:0:1>; rel=\"previous\"; results=\"true\", \
             <https://sentry.io/?&cursor=0:100:0>; rel=\"next\"; results=\"false\"; cursor=\"0:1\"",
        )],
    ),
    (
        "Azure",
        200,
        &[("x-ms-continuation", "eyJ0b2tlbiI6MX0")],
        "it says so in its header `X-Ms-Continuation`",
        200,
        &[("x-ms-request-id", "7")],
    ),
];

#[test]
fn real_apis_show_that_they_have_more_pages_and_that_they_have_none() {
    for (name, selector, first, shows, last) in BODIES {
        assert_eq!(seen(selector, first).as_deref(), Some(shows), "{name}");
        assert_eq!(seen(selector, last), None, "{name}, its last page");
        assert_eq!(said(selector, last), None, "{name}, its last page by count");
        let in_words = seen(selector, first).filter(|shows| shows.starts_with("it says so in"));
        assert!(in_words.is_none() || said(selector, first) == in_words, "{name}");
    }
}

#[test]
fn figures_of_all_pages_do_not_show_that_there_is_another_behind_the_last_by_count() {
    for last in [
        r#"{"pages":3,"items":[{},{}]}"#,
        r#"{"total":9,"count":2,"offset":7,"limit":3,"items":[{},{}]}"#,
        r#"{"total":9,"items":[{},{}]}"#,
        r#"{"total":9,"has_more":false,"next":"/x?offset=9","items":[{},{}]}"#,
    ] {
        assert_eq!(said("$.items[*]", last), None, "{last}");
    }
    for more in [
        r#"{"total":9,"has_more":true,"items":[{},{}]}"#,
        r#"{"total":9,"links":{"next":"/v1/things?limit=2&offset=9"},"items":[{},{}]}"#,
    ] {
        assert!(said("$.items[*]", more).is_some(), "{more}");
    }
    let link = of(&[("link", "<https://a/?offset=9>; rel=\"next\"")]);
    let look = |headers: &HeaderMap| last_page("$", 200, headers, "[{}]", |page| page.says_more());
    assert!(look(&link).is_some());
    let part = of(&[("content-range", "items 7-8/9")]);
    assert_eq!(last_page("$", 206, &part, "[{}]", |page| page.says_more()), None);
}

#[test]
fn headers_show_that_there_are_more_pages_and_that_there_are_none() {
    for (name, status, headers, shows, last_status, last) in HEADERS {
        let first = answered("$[*]", status, &of(headers), "[{},{}]");
        assert_eq!(first.as_deref(), Some(shows), "{name}");
        let last = answered("$[*]", last_status, &of(last), "[{},{}]");
        assert_eq!(last, None, "{name}, its last page");
    }
    for link in ["<a>; rel=\"prev next\"", "<a>;title=\"x, y\" ; REL=\"Next\""] {
        let headers = of(&[("Link", link)]);
        assert!(answered("$[*]", 200, &headers, "[{}]").is_some(), "{link}");
    }
    for link in ["<https://a/?rel=next>; rel=\"prev\"", "<a>; rel=\"last\"", "", "rel"] {
        let headers = of(&[("Link", link)]);
        assert_eq!(answered("$[*]", 200, &headers, "[{}]"), None, "{link}");
    }
}

#[test]
fn an_answer_that_is_all_there_is_is_no_alarm() {
    for (name, selector, body) in [
        ("CoinGecko", "$[*]", r#"[{"id":"bitcoin","next":"x","has_more":true,"total":9}]"#),
        (
            "USGS",
            "$.features[*]",
            r#"{"type":"FeatureCollection","metadata":{"status":200,"count":2},"features":[{},{}]}"#,
        ),
        ("iTunes", "$.results[*]", r#"{"resultCount":2,"results":[{},{}]}"#),
        ("REST Countries", "$[*]", r#"[{"name":{}},{"name":{}}]"#),
        (
            "Frankfurter",
            "$",
            r#"{"amount":1.0,"base":"EUR","date":"2026-11-27","rates":{"USD":1.1}}"#,
        ),
        ("Open-Meteo", "$", r#"{"latitude":52.5,"hourly":{"time":[],"next":"x"},"offset":7}"#),
        ("a slice", "$.items[0:2]", r#"{"total":4,"items":[{},{},{},{}]}"#),
        ("a filter", "$.items[?@.a]", r#"{"total":4,"limit":9,"items":[{"a":1},{},{},{}]}"#),
        (
            "lists within a list",
            "$.data[*].items[*]",
            r#"{"total":2,"data":[{"items":[{}]},{"items":[]}]}"#,
        ),
        ("an object of records", "$.data.*", r#"{"total":2,"data":{"a":{},"next":{"id":1}}}"#),
        ("any depth", "$..item", r#"{"total":9,"item":{}}"#),
        ("views", "$.items[*]", r#"{"count":1204,"items":[{},{},{}]}"#),
        ("a total of something else", "$.users[*]", r#"{"total_orders":900,"users":[{},{}]}"#),
        (
            "what a record has",
            "$.users[*]",
            r#"{"users":[{"total_users":9,"result_info":{"total_pages":7},"nextPageStart":1}]}"#,
        ),
        ("money", "$.lines[*]", r#"{"total":4999,"currency":"EUR","lines":[{},{}]}"#),
        (
            "next is here",
            "$.data[*]",
            r#"{"links":{"next":"https://api.example.com/v1/things?key=k&limit=2"},"data":[{}]}"#,
        ),
        (
            "next is here, in short",
            "$.data[*]",
            r#"{"links":{"next":"/v1/things?limit=2&key=***&key=k"},"data":[{}]}"#,
        ),
        (
            "next is self",
            "$.data[*]",
            r#"{"links":{"next":{"href":"/t?page=3"},"self":{"href":"/t?page=3"}},"data":[{}]}"#,
        ),
        ("what was asked for", "$.data[*]", r#"{"cursor":"k","data":[{}]}"#),
    ] {
        assert_eq!(seen(selector, body), None, "{name}");
    }
    // The same with more behind it.
    for (selector, body) in [
        ("$.items[0:2]", r#"{"total":9,"items":[{},{},{},{}]}"#),
        ("$.items[?@.a]", r#"{"total":9,"items":[{"a":1},{},{},{}]}"#),
        ("$.data[*].items[*]", r#"{"total":9,"data":[{"items":[{}]},{"items":[]}]}"#),
        ("$.data[*].items[*]", r#"{"has_more":true,"data":[{"items":[{}]}]}"#),
        ("$..item", r#"{"has_more":true,"item":{}}"#),
        ("$.data[*]", r#"{"links":{"next":"/v1/things?limit=2&key=k&page=2"},"data":[{}]}"#),
        ("$.data[*]", r#"{"links":{"next":"?page=2"},"data":[{}]}"#),
    ] {
        assert!(seen(selector, body).is_some(), "{selector} {body}");
    }
}

#[test]
fn what_stands_in_the_records_says_nothing() {
    let one = r#"{"id":7,"next":"2026-01-01","total":99,"cursor":"c"}"#;
    assert_eq!(seen("$", one), None, "the answer itself is the record");
    let within = r#"{"data":{"id":7,"next":"x","has_more":true},"status":"ok"}"#;
    assert_eq!(seen("$.data", within), None);
    let list = r#"{"items":[{"next":"x","links":{"next":"y"},"meta":{"total_pages":9}}]}"#;
    assert_eq!(seen("$.items[*]", list), None);
}

/// What shows in a body that there is more, and the same key when there is not.
#[test]
fn less_common_signs_of_more_pages_are_seen() {
    for (more, shows, last) in [
        (
            r#""matched":500,"returned":2"#,
            "`matched` is 500, and it has 2 records",
            r#""matched":2,"returned":2"#,
        ),
        (
            r#""numberMatched":500,"numberReturned":2"#,
            "`numberMatched` is 500, and it has 2 records",
            r#""numberMatched":2"#,
        ),
        (r#""moreAvailable":true"#, "it says so in `moreAvailable`", r#""moreAvailable":false"#),
        (r#""partial":true"#, "it says so in `partial`", r#""partial":false"#),
        (r#""page":"1/25""#, "`page` is 25", r#""page":"25/25""#),
        (r#""page":"1 of 25""#, "`page` is 25", r#""page":"1 of 1""#),
        (r#""remaining":480"#, "`remaining` is 480", r#""remaining":0"#),
        (
            r#""incomplete_results":true"#,
            "it says so in `incomplete_results`",
            r#""incomplete_results":false"#,
        ),
        (r#""nextPageStart":25"#, "it says so in `nextPageStart`", r#""nextPageStart":null"#),
        (r#""end":false"#, "it says so in `end`", r#""end":true"#),
        (r#""endOfRecords":false"#, "it says so in `endOfRecords`", r#""endOfRecords":true"#),
        (r#""complete":false"#, "it says so in `complete`", r#""complete":true"#),
        (
            r#""warning":"results truncated to 20""#,
            "it says so in `warning`",
            r#""warning":"`q` is deprecated""#,
        ),
        (
            r#""warnings":["x","Only the first 20 are shown"]"#,
            "it says so in `warnings`",
            r#""warnings":[]"#,
        ),
    ] {
        let body = |around: &str| format!("{{{around},\"items\":[{{}},{{}}]}}");
        assert_eq!(seen("$.items[*]", &body(more)).as_deref(), Some(shows), "{more}");
        assert_eq!(seen("$.items[*]", &body(last)), None, "{last}");
    }
}

#[test]
fn what_only_looks_like_pages_is_no_alarm() {
    let ten = "[{},{},{},{},{},{},{},{},{},{}]";
    for around in [
        r#""next_page":2,"total_pages":1"#,
        r#""next":{"label":"Version 2","id":5}"#,
        r#""pages":352,"title":"Emma""#,
        r#""total":50000,"total_price":"500.00""#,
        r#""page_views":3000,"count":3000"#,
        r#""remaining":480,"rate_limit_reset":1700000000"#,
        r#""end":"2026-11-28","message":"all is well","partial":"no""#,
    ] {
        let body = format!("{{{around},\"items\":{ten}}}");
        assert_eq!(seen("$.items[*]", &body), None, "{around}");
    }
    for around in [
        r#""next_page":2,"total_pages":3"#,
        r#""next":{"id":5,"href":"?page=2"}"#,
        r#""next":{"page":2}"#,
        r#""pages":352"#,
        r#""pages":352,"title":"All books","page":1"#,
        r#""total":50000,"min_price":5"#,
        r#""views":7,"count":3000"#,
    ] {
        let body = format!("{{{around},\"items\":{ten}}}");
        assert!(seen("$.items[*]", &body).is_some(), "{around}");
    }
}

#[test]
fn figures_that_fit_one_page_are_no_alarm() {
    for body in [
        r#"{"total":2,"count":2,"items":[{},{}]}"#,
        r#"{"total_pages":1,"page":1,"items":[{},{}]}"#,
        r#"{"total":1234.5,"items":[{},{}]}"#,
        r#"{"total":"12 EUR","next_page":0,"items":[{},{}]}"#,
        r#"{"cursor":"abc","has_more":false,"items":[{},{}]}"#,
        r#"{"paging":{"cursors":{"before":"a","after":"b"}},"items":[{},{}]}"#,
        r#"{"offset":98,"limit":50,"total":100,"items":[{},{}]}"#,
        r#"{"meta":{"next":{}},"total":9,"items":[{},{}]}"#,
        r#"{"next":"2026-11-28","items":[{},{}]}"#,
        r#"{"next":"2026-11-28T08:00:00Z","more":"details","continue":true,"items":[{},{}]}"#,
    ] {
        assert_eq!(seen("$.items[*]", body), None, "{body}");
    }
}

proptest::proptest! {
    #[test]
    fn no_body_panics(body in "[\\[\\]{}\",:a-z0-9 ]{0,60}", header in "[ -~]{0,40}") {
        let headers = ["link", "content-range", "x-pagination", "x-total"];
        let headers = of(&headers.map(|name| (name, header.as_str())));
        let asked = Url::parse("https://api.example.com/things").unwrap().join(&header);
        let asked = asked.unwrap_or_else(|_| Url::parse(ASKED).unwrap());
        for selector in ["$.a.b", "$.a[1]", "$..b", "$.a[*].b", "$[0][*]"] {
            let selector = DataSelector::new(selector).unwrap();
            for body in [body.clone(), format!("{{\"total\":{body},\"next\":{body},\"a\":[1]}}")] {
                let (asked, headers, body) = (&asked, &headers, body.as_str());
                let (hash, records) = (ContentHash::of(b""), &["{}".into(), "{}".into()]);
                let (came, said) = (records.len(), Said::Page);
                let page = PageView { asked, status: 200, headers, body, hash, came, records, keys: None, said, complaint: None };
                let last = LastPage { page, status: 206, place: &selector.place, end_values: &[], asks_for_news: false };
                let _ = (last.evidence_of_more(), last.says_more());
            }
        }
    }
}
