//! The finishing pass over a generated document: what no model says, written once.

use schemars::{Schema, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const PREFIX: &str = "#/components/schemas/";

/// Says that there is no authentication, drops components that nobody refers to, gives tagged unions names and a
/// discriminator, and takes `null` from properties that are left out rather than sent as null.
pub(super) fn finish(mut document: Value) -> Value {
    document["security"] = json!([]);
    let mut schemas = document["components"]["schemas"].take();
    name_variants(&mut schemas);
    let (mut used, mut inputs) = (BTreeSet::new(), BTreeSet::new());
    references(&document["paths"], &schemas, &mut used);
    for operation in operations(&document) {
        references(&operation["requestBody"], &schemas, &mut inputs);
        references(&operation["parameters"], &schemas, &mut inputs);
    }
    if let Some(map) = schemas.as_object_mut() {
        map.retain(|name, _| used.contains(name));
        map.sort_keys();
        map.iter_mut().filter(|(name, _)| !inputs.contains(*name)).for_each(|(_, schema)| strip_null(schema));
    }
    document["components"]["schemas"] = schemas;
    document
}

/// All operations of a document.
fn operations(document: &Value) -> impl Iterator<Item = &Value> {
    let paths = document["paths"].as_object().into_iter().flat_map(Map::values);
    paths.filter_map(Value::as_object).flat_map(Map::values)
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

fn strip_null(schema: &mut Value) {
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
