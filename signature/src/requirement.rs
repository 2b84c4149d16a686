// SPDX-License-Identifier: Apache-2.0
//! Requirements of a policy (containers-policy.json(5), "policy requirements"), each with the
//! fields of its type and no others.

use image_spec::Reference;
use serde_json::Value;

use crate::error::Error;
use crate::json::Fields;

/// Requirements of one scope. More than this is no list that a person wrote.
const MAX_REQUIREMENTS: usize = 64;

/// What a scope asks of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requirement {
    InsecureAcceptAnything,
    Reject,
    /// Read and checked, but nothing verifies it yet.
    Unverifiable(&'static str),
}

impl Requirement {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Requirement::InsecureAcceptAnything => "insecureAcceptAnything",
            Requirement::Reject => "reject",
            Requirement::Unverifiable(name) => name,
        }
    }

    /// The list under `key`, which must not be empty.
    pub(crate) fn list(fields: &mut Fields, key: &str) -> Result<Vec<Requirement>, Error> {
        match fields.take(key) {
            Some(Value::Array(items)) if !items.is_empty() && items.len() <= MAX_REQUIREMENTS => {
                let read = |(index, item)| one(Fields::new(item, format!("{}[{index}]", fields.place(key)))?);
                items.into_iter().enumerate().map(read).collect()
            }
            Some(Value::Array(items)) if !items.is_empty() => {
                Err(fields.wrong(&format!("more than {MAX_REQUIREMENTS} requirements"), key))
            }
            Some(_) => Err(fields.wrong("not a list of requirements, or empty", key)),
            None => Err(fields.wrong("missing", key)),
        }
    }
}

fn one(mut fields: Fields) -> Result<Requirement, Error> {
    let requirement = match fields.require_text("type")?.as_str() {
        "insecureAcceptAnything" => Requirement::InsecureAcceptAnything,
        "reject" => Requirement::Reject,
        "signedBy" => signed_by(&mut fields)?,
        "sigstoreSigned" => sigstore_signed(&mut fields)?,
        "signedBaseLayer" => {
            identity(&mut fields, "baseLayerIdentity", true)?;
            Requirement::Unverifiable("signedBaseLayer")
        }
        other => return Err(fields.wrong(&format!("unknown requirement `{}`", other.escape_debug()), "type")),
    };
    fields.end()?;
    Ok(requirement)
}

fn signed_by(fields: &mut Fields) -> Result<Requirement, Error> {
    let kind = fields.require_text("keyType")?;
    if ![
        "GPGKeys",
        "signedByGPGKeys",
        "X509Certificates",
        "signedByX509CAs",
    ]
    .contains(&kind.as_str())
    {
        return Err(fields.wrong("unknown kind of key", "keyType"));
    }
    let keys = [
        path(fields, "keyPath")?,
        paths(fields, "keyPaths")?,
        data(fields, "keyData")?,
    ];
    one_of(fields, &keys, "keyPath")?;
    identity(fields, "signedIdentity", false)?;
    Ok(Requirement::Unverifiable("signedBy"))
}

fn sigstore_signed(fields: &mut Fields) -> Result<Requirement, Error> {
    let fulcio = fields.take_object("fulcio")?.map(fulcio).transpose()?.is_some();
    let pki = fields.take_object("pki")?.map(pki).transpose()?.is_some();
    let keys = [
        path(fields, "keyPath")?,
        paths(fields, "keyPaths")?,
        data(fields, "keyData")?,
        datas(fields, "keyDatas")?,
        fulcio,
        pki,
    ];
    one_of(fields, &keys, "keyPath")?;
    let rekor = [
        path(fields, "rekorPublicKeyPath")?,
        paths(fields, "rekorPublicKeyPaths")?,
        data(fields, "rekorPublicKeyData")?,
        datas(fields, "rekorPublicKeyDatas")?,
    ];
    let logged = at_most_one_of(fields, &rekor, "rekorPublicKeyPath")?;
    if fulcio && !logged {
        return Err(fields.wrong("`fulcio` needs a key of the log, missing", "rekorPublicKeyPath"));
    }
    if pki && logged {
        return Err(fields.wrong("`pki` has no log, unexpected", "rekorPublicKeyPath"));
    }
    identity(fields, "signedIdentity", false)?;
    Ok(Requirement::Unverifiable("sigstoreSigned"))
}

fn fulcio(mut fields: Fields) -> Result<(), Error> {
    let roots = [path(&mut fields, "caPath")?, data(&mut fields, "caData")?];
    one_of(&fields, &roots, "caPath")?;
    fields.require_text("oidcIssuer")?;
    fields.require_text("subjectEmail")?;
    fields.end()
}

fn pki(mut fields: Fields) -> Result<(), Error> {
    let roots = [
        path(&mut fields, "caRootsPath")?,
        data(&mut fields, "caRootsData")?,
    ];
    one_of(&fields, &roots, "caRootsPath")?;
    let between = [
        path(&mut fields, "caIntermediatesPath")?,
        data(&mut fields, "caIntermediatesData")?,
    ];
    at_most_one_of(&fields, &between, "caIntermediatesPath")?;
    let email = fields.take_text("subjectEmail")?;
    let host = fields.take_text("subjectHostname")?;
    if email.is_none() && host.is_none() {
        return Err(fields.wrong("neither `subjectHostname` nor, missing", "subjectEmail"));
    }
    fields.end()
}

/// Which names a signature may carry (containers-policy.json(5), `signedIdentity`).
fn identity(fields: &mut Fields, key: &str, required: bool) -> Result<(), Error> {
    let Some(mut rule) = fields.take_object(key)? else {
        return if required {
            Err(fields.wrong("missing", key))
        } else {
            Ok(())
        };
    };
    match rule.require_text("type")?.as_str() {
        "matchExact" | "matchRepoDigestOrExact" | "matchRepository" => {}
        "exactReference" => {
            let name = reference(&mut rule, "dockerReference")?;
            let bare = !name.contains('@') && !name.rsplit('/').next().is_some_and(|last| last.contains(':'));
            if bare {
                return Err(rule.wrong("neither tag nor digest", "dockerReference"));
            }
        }
        "exactRepository" => drop(reference(&mut rule, "dockerRepository")?),
        "remapIdentity" => {
            prefix(&mut rule, "prefix")?;
            prefix(&mut rule, "signedPrefix")?;
        }
        _ => return Err(rule.wrong("unknown rule for identities", "type")),
    }
    rule.end()
}

fn reference(fields: &mut Fields, key: &str) -> Result<String, Error> {
    let text = fields.require_text(key)?;
    match text.parse::<Reference>() {
        Ok(_) => Ok(text),
        Err(source) => Err(fields.wrong("not a reference", key).caused(source)),
    }
}

/// A host, or a namespace or repository with its host.
fn prefix(fields: &mut Fields, key: &str) -> Result<(), Error> {
    // With a repository below it, it must be a reference in which nothing had to be filled in.
    let name = format!("{}/x/y", fields.require_text(key)?);
    match name.parse::<Reference>() {
        Ok(reference) if reference.name() == name => Ok(()),
        _ => Err(fields.wrong("not a full host, namespace or repository", key)),
    }
}

fn path(fields: &mut Fields, key: &str) -> Result<bool, Error> {
    Ok(fields.take_text(key)?.is_some())
}

fn paths(fields: &mut Fields, key: &str) -> Result<bool, Error> {
    Ok(fields.take_texts(key)?.is_some())
}

fn data(fields: &mut Fields, key: &str) -> Result<bool, Error> {
    match fields.take_text(key)? {
        None => Ok(false),
        Some(text) if is_key_data(&text) => Ok(true),
        Some(_) => Err(fields.wrong("neither base64 nor PEM", key)),
    }
}

fn datas(fields: &mut Fields, key: &str) -> Result<bool, Error> {
    match fields.take_texts(key)? {
        None => Ok(false),
        Some(texts) if texts.iter().all(|text| is_key_data(text)) => Ok(true),
        Some(_) => Err(fields.wrong("neither base64 nor PEM", key)),
    }
}

/// Base64 with padding, as the manual asks, or PEM itself, as confidential containers write it.
fn is_key_data(text: &str) -> bool {
    if text.starts_with("-----BEGIN ") {
        return true;
    }
    let lines = text
        .bytes()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect::<Vec<u8>>();
    let padding = lines.iter().rev().take_while(|byte| **byte == b'=').count();
    let digits = lines.iter().take(lines.len() - padding);
    !lines.is_empty()
        && lines.len().is_multiple_of(4)
        && padding <= 2
        && digits
            .into_iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

fn one_of(fields: &Fields, given: &[bool], key: &str) -> Result<(), Error> {
    if at_most_one_of(fields, given, key)? {
        return Ok(());
    }
    Err(fields.wrong("missing, or one of its alternatives,", key))
}

fn at_most_one_of(fields: &Fields, given: &[bool], key: &str) -> Result<bool, Error> {
    match given.iter().filter(|given| **given).count() {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(fields.wrong("more than one alternative of a key", key)),
    }
}
