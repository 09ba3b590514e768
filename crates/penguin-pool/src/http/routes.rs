//! A feature's routes: each with its handler and its document, in one line.

use super::{
    ApiError,
    error::{ErrorBody, describe},
};
use aide::{
    axum::{
        ApiRouter,
        routing::{self, ApiMethodRouter},
    },
    generate::in_context,
    openapi::{Example, MediaType, Operation, ReferenceOr, Response, SchemaObject, StatusCode},
    operation::{OperationHandler, OperationInput, OperationOutput},
    transform::TransformOperation,
};
use axum::handler::Handler;
use event_store::ErrorCode;
use schemars::JsonSchema;
use std::collections::BTreeMap;

/// What the document says of an operation beside its types. Made by [`endpoint!`](crate::endpoint).
#[derive(Debug, Clone, Copy)]
pub struct OperationDoc {
    /// The handler's name: in camelCase it is the operation's id.
    pub name: &'static str,
    /// The handler's doc comment, line by line: the summary, an empty line, the description.
    pub text: &'static [&'static str],
    /// What can go wrong beyond what the extractors and the layers refuse.
    pub errors: &'static [ErrorCode],
}

/// Writes a handler and, from its doc comment and the errors listed, its [`OperationDoc`] in a module of its name.
///
/// ```ignore
/// endpoint! {
///     /// Creates a stream with its first event.
///     [StreamAlreadyExists, StreamDeleted]
///     async fn create_stream(State(streams): State<Streams>) -> Result<Created<StreamCreated>, ApiError> { … }
/// }
/// // …
/// routes.post("/api/streams/create", create_stream, create_stream::DOC)
/// ```
#[macro_export]
macro_rules! endpoint {
    (
        $(#[doc = $doc:literal])*
        [$($code:ident),* $(,)?]
        async fn $name:ident($($args:tt)*) -> $answer:ty $body:block
    ) => {
        $(#[doc = $doc])*
        async fn $name($($args)*) -> $answer $body

        mod $name {
            pub(super) const DOC: $crate::http::OperationDoc = $crate::http::OperationDoc {
                name: stringify!($name),
                text: &[$($doc),*],
                errors: &[$(::event_store::ErrorCode::$code),*],
            };
        }
    };
}

/// The routes of a feature.
#[derive(Debug)]
pub struct Routes<S = ()> {
    router: ApiRouter<S>,
    tag: &'static str,
    tags: Vec<(&'static str, &'static str)>,
    components: Vec<String>,
}

/// What [`Routes`] come to.
pub(super) struct Collected {
    pub(super) router: ApiRouter,
    /// Tags and what they mean.
    pub(super) tags: Vec<(&'static str, &'static str)>,
    /// Components to be kept though no operation refers to them.
    pub(super) components: Vec<String>,
}

macro_rules! methods {
    ($($method:ident $with:ident,)*) => {$(
        #[doc = concat!("Serves `", stringify!($method), "` on a path, and documents it.")]
        #[must_use]
        pub fn $method<H, I, O, T>(self, path: &str, handler: H, doc: OperationDoc) -> Self
        where
            H: Handler<T, S> + OperationHandler<I, O>,
            I: OperationInput,
            O: OperationOutput,
            T: 'static,
        {
            let tag = self.tag;
            let open = is_open(path);
            let documented: ApiMethodRouter<S> = routing::$with(handler, |op| document(op, doc, tag, open));
            Self { router: self.router.api_route(path, documented), ..self }
        }
    )*};
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No routes yet; those to come stand under `tag` in the document, which `about` describes.
    #[must_use]
    pub fn new(tag: &'static str, about: &'static str) -> Self {
        Self { router: ApiRouter::new(), tag, tags: vec![(tag, about)], components: Vec::new() }
    }

    methods! {
        get get_with,
        post post_with,
        put put_with,
        patch patch_with,
        delete delete_with,
    }

    /// Documents a type that no operation takes or gives by itself: what stands in free JSON, say.
    #[must_use]
    pub fn component<T: JsonSchema>(mut self) -> Self {
        in_context(|ctx| ctx.schema.subschema_for::<T>());
        self.components.push(T::schema_name().into_owned());
        self
    }

    /// The routes with what their handlers need.
    #[must_use]
    pub fn with_state(self, state: S) -> Routes {
        let Self { router, tag, tags, components } = self;
        Routes { router: router.with_state(state), tag, tags, components }
    }
}

impl Routes {
    /// These and others.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.tags.extend(other.tags);
        self.components.extend(other.components);
        Self { router: self.router.merge(other.router), ..self }
    }

    pub(super) fn into_parts(self) -> Collected {
        Collected { router: self.router, tags: self.tags, components: self.components }
    }
}

/// Where extractors leave what they refuse, until [`document`] turns it into responses.
const REFUSALS: &str = "x-refusals";

/// What the layers around every route can answer.
const ALWAYS: [ErrorCode; 6] = [
    ErrorCode::ValidationFailed,
    ErrorCode::RateLimited,
    ErrorCode::InternalError,
    ErrorCode::ConnectionError,
    ErrorCode::ShuttingDown,
    ErrorCode::Timeout,
];

/// Called by an extractor: it refuses requests with these codes.
pub(super) fn refuses(operation: &mut Operation, codes: &[ErrorCode]) {
    let slot = operation.extensions.entry(REFUSALS.to_owned()).or_insert_with(|| Vec::<&str>::new().into());
    if let Some(slot) = slot.as_array_mut() {
        slot.extend(codes.iter().map(|code| code.slug().into()));
    }
}

/// Whether a path asks nobody who they are, and looks at no credentials: health, and what describes the API. A document
/// says nothing of what is kept here, and a client must have it to know how to log in.
#[must_use]
pub fn is_open(path: &str) -> bool {
    let documents = ["/api/docs", "/api/docs/", "/api/docs-json", "/api/docs-yaml", "/api/docs/asyncapi"];
    // The route of tokens judges what comes itself.
    path == "/health"
        || path.starts_with("/health/")
        || path == "/api/auth/token"
        || documents.contains(&path)
}

fn document<'t>(
    mut op: TransformOperation<'t>,
    doc: OperationDoc,
    tag: &str,
    open: bool,
) -> TransformOperation<'t> {
    let operation = op.inner_mut();
    if open {
        // The document says otherwise of all the others.
        operation.security = vec![Default::default()];
    }
    let refusals = operation.extensions.shift_remove(REFUSALS).unwrap_or_default();
    let refused = |code: &ErrorCode| {
        refusals.as_array().is_some_and(|slugs| slugs.iter().any(|slug| slug == code.slug()))
    };
    let mut by_status = BTreeMap::<u16, Vec<ErrorCode>>::new();
    for code in ErrorCode::ALL {
        let unknown = code == ErrorCode::AuthenticationFailed && !open;
        if refused(&code) || doc.errors.contains(&code) || ALWAYS.contains(&code) || unknown {
            by_status.entry(code.http_status()).or_default().push(code);
        }
    }
    let responses = operation.responses.get_or_insert_with(Default::default);
    for (status, codes) in by_status {
        responses
            .responses
            .entry(StatusCode::Code(status))
            .or_insert_with(|| ReferenceOr::Item(failure(&codes)));
    }
    let succeeds = responses.responses.keys().any(|status| matches!(status, StatusCode::Code(200..300)));
    if !succeeds {
        // The answer's type says nothing of itself: text, or what another server answered.
        let response = Response { description: "Answered".into(), ..Response::default() };
        responses.responses.insert(StatusCode::Code(200), ReferenceOr::Item(response));
    }
    let mut paragraphs = doc.text.split(|line| line.trim().is_empty());
    let summary =
        paragraphs.next().unwrap_or_default().iter().map(|l| l.trim()).collect::<Vec<_>>().join(" ");
    let rest = paragraphs.map(|lines| lines.iter().map(|l| l.trim()).collect::<Vec<_>>().join("\n"));
    let description = rest.collect::<Vec<_>>().join("\n\n");
    let op = op.id(&camel_case(doc.name)).tag(tag).summary(summary.trim_end_matches('.'));
    if description.is_empty() { op } else { op.description(&description) }
}

fn failure(codes: &[ErrorCode]) -> Response {
    let schema = in_context(|ctx| ctx.schema.subschema_for::<ErrorBody>());
    let lines: Vec<_> = codes.iter().map(|code| format!("`{code}`: {}.", describe(*code))).collect();
    let example = |code: &ErrorCode| {
        let value = serde_json::to_value(ApiError::example(*code)).ok();
        (code.slug().to_owned(), ReferenceOr::Item(Example { value, ..Example::default() }))
    };
    let media = MediaType {
        schema: Some(SchemaObject { json_schema: schema, example: None, external_docs: None }),
        examples: codes.iter().map(example).collect(),
        ..MediaType::default()
    };
    Response {
        description: lines.join("\n\n"),
        content: [("application/json".to_owned(), media)].into_iter().collect(),
        ..Response::default()
    }
}

/// `create_stream` as `createStream`. A path keeps its dots and brackets.
pub(crate) fn camel_case(name: &str) -> String {
    let mut up = false;
    let mut camel = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '_' => up = true,
            c if std::mem::take(&mut up) => camel.push(c.to_ascii_uppercase()),
            c => camel.push(c),
        }
    }
    camel
}
