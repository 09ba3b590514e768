//! The finishing pass over a generated document: what no model says, written once.

use schemars::{Schema, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const PREFIX: &str = "#/components/schemas/";

/// Says how callers say who they are (and that with `AUTH_MODE=off` they need not), drops components that nobody refers to (but for those in `keep`), gives tagged
/// unions names and a discriminator, and takes `null` from what may be left out: nobody sends it, or needs to.
pub(super) fn finish(mut document: Value, keep: &[String]) -> Value {
    document["security"] = json!([{ "bearer": [] }, { "basic": [] }, { "apiKey": [] }, {}]);
    document["components"]["securitySchemes"] = json!({
        "bearer": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "A JSON Web Token: of `POST /api/auth/token`, or of the issuer that the service believes.",
        },
        "basic": { "type": "http", "scheme": "basic", "description": "An account's login name and password." },
        "apiKey": {
            "type": "apiKey", "in": "header", "name": "x-api-key",
            "description": "An API key; `Authorization: ApiKey …` is the same.",
        },
    });
    let mut schemas = document["components"]["schemas"].take();
    name_variants(&mut schemas);
    let mut used = BTreeSet::new();
    references(&document["paths"], &schemas, &mut used);
    for name in keep {
        used.insert(name.clone());
        references(&schemas[name], &schemas, &mut used);
    }
    if let Some(map) = schemas.as_object_mut() {
        map.retain(|name, _| used.contains(name));
        map.sort_keys();
        map.values_mut().for_each(strip_null);
    }
    strip_null_defaults(&mut document["paths"]);
    name_wildcards(&mut document["paths"]);
    document["components"]["schemas"] = schemas;
    document
}

/// The names of all components that a value leads to.
fn references(value: &Value, schemas: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let name = value.as_str().and_then(|text| text.strip_prefix(PREFIX));
                match (key.as_str(), name) {
                    ("$ref", Some(name)) => {
                        if found.insert(name.into()) {
                            references(&schemas[name], schemas, found);
                        }
                    }
                    _ => references(value, schemas, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, schemas, found)),
        _ => {}
    }
}

/// The router's `{*path}` is the document's `{path}`, and a parameter of each operation.
fn name_wildcards(paths: &mut Value) {
    let Some(map) = paths.as_object_mut() else { return };
    for (path, mut item) in std::mem::take(map) {
        let wildcard = path.split_once("{*").and_then(|(_, rest)| rest.split_once('}'));
        if let Some((name, _)) = wildcard {
            let parameter = json!({
                "in": "path", "name": name, "required": true, "schema": { "type": "string" },
                "description": "All that follows.",
            });
            for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
                match operation["parameters"].as_array_mut() {
                    Some(parameters) => parameters.push(parameter.clone()),
                    None => operation["parameters"] = json!([parameter]),
                }
            }
        }
        map.insert(path.replace("{*", "{"), item);
    }
}

/// Of a parameter that may be left out the generator says that it is null by default, which its type forbids.
fn strip_null_defaults(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|key, value| key != "default" || !value.is_null());
            object.values_mut().for_each(strip_null_defaults);
        }
        Value::Array(values) => values.iter_mut().for_each(strip_null_defaults),
        _ => {}
    }
}

fn strip_null(schema: &mut Value) {
    strip_null_defaults(schema);
    let required: BTreeSet<String> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|n| n.as_str().map(Into::into))
        .collect();
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (_, property) in properties.iter_mut().filter(|(name, _)| !required.contains(*name)) {
        if let Some(Value::Array(types)) = property.get_mut("type") {
            types.retain(|t| t != "null");
            if let [one] = types.as_slice() {
                property["type"] = one.clone();
            }
        }
        let Some(Value::Array(any)) = property.get_mut("anyOf") else { continue };
        any.retain(|schema| schema != &json!({ "type": "null" }));
        if let [one] = any.as_slice() {
            let one = one.as_object().cloned().unwrap_or_default();
            if let Some(property) = property.as_object_mut() {
                property.remove("anyOf");
                property.extend(one);
            }
        }
    }
}

/// The variants of a union that is told apart by a constant property become components of their own, named after
/// the union and the constant.
fn name_variants(schemas: &mut Value) {
    let mut named = Map::new();
    let Some(components) = schemas.as_object_mut() else { return };
    for (name, schema) in components.iter_mut() {
        let Some(variants) = schema.get_mut("oneOf").and_then(Value::as_array_mut) else { continue };
        let tag = |variant: &Value| {
            let properties = variant["properties"].as_object()?;
            properties.iter().find_map(|(key, p)| Some((key.clone(), p["const"].as_str()?.to_owned())))
        };
        let Some(tags) = variants.iter().map(tag).collect::<Option<Vec<_>>>() else { continue };
        let Some(property) = tags.first().map(|(key, _)| key.clone()) else { continue };
        let mut mapping = Map::new();
        for (variant, (_, tag)) in variants.iter_mut().zip(tags) {
            let component = format!("{name}{tag}");
            let reference = format!("{PREFIX}{component}");
            named.insert(component, std::mem::replace(variant, json!({ "$ref": reference })));
            mapping.insert(tag, reference.into());
        }
        schema["discriminator"] = json!({ "propertyName": property, "mapping": mapping });
    }
    components.extend(named);
}

/// The same document as OpenAPI 3.0.3, by the schema generator's own transforms.
pub(super) fn as_3_0(mut document: Value) -> Value {
    let mut transforms = SchemaSettings::openapi3().transforms;
    let mut apply = |value: &mut Value| {
        if let Ok(schema) = <&mut Schema>::try_from(value) {
            transforms.iter_mut().for_each(|transform| transform.transform(schema));
        }
    };
    each_schema(&mut document["paths"], &mut apply);
    for schema in document["components"]["schemas"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        apply(schema);
    }
    if let Some(license) = document["info"]["license"].as_object_mut() {
        license.remove("identifier");
        license.insert("url".into(), json!("https://spdx.org/licenses/"));
    }
    document["openapi"] = json!("3.0.3");
    document
}

fn each_schema(value: &mut Value, apply: &mut dyn FnMut(&mut Value)) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                // What stands in an example may well be called `schema`, and is none.
                match key.as_str() {
                    "schema" => apply(value),
                    "example" | "examples" => {}
                    _ => each_schema(value, apply),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| each_schema(value, apply)),
        _ => {}
    }
}
