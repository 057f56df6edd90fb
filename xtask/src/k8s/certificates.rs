//! The test cluster's own authority and what it vouches for. In: a folder. Out: certificates and keys in it, as PEM.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use super::places::{API_SERVICE_ADDRESS, NODE, NODE_ADDRESS};

/// Someone whom the API server knows by a certificate.
struct Identity {
    name: &'static str,
    user: &'static str,
    /// Groups, as Kubernetes reads them from certificates.
    group: &'static str,
    /// What it may serve as.
    names: &'static [&'static str],
}

const ADMINISTRATORS: &str = "system:masters";

const IDENTITIES: [Identity; 6] = [
    Identity {
        name: "kube-apiserver",
        user: "kube-apiserver",
        group: "",
        names: &[
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
            "127.0.0.1",
            NODE_ADDRESS,
            API_SERVICE_ADDRESS,
        ],
    },
    Identity {
        name: "admin",
        user: "admin",
        group: ADMINISTRATORS,
        names: &[],
    },
    // As an administrator it needs no service account for each controller, and starts 5 s sooner.
    Identity {
        name: "kube-controller-manager",
        user: "system:kube-controller-manager",
        group: ADMINISTRATORS,
        names: &[],
    },
    Identity {
        name: "kube-scheduler",
        user: "system:kube-scheduler",
        group: "",
        names: &[],
    },
    Identity {
        name: "kubelet",
        user: "system:node:spanlet-test",
        group: "system:nodes",
        names: &[NODE, NODE_ADDRESS],
    },
    Identity {
        name: "kube-proxy",
        user: "system:kube-proxy",
        group: "",
        names: &[],
    },
];

/// Users that have a kubeconfig.
pub fn users() -> impl Iterator<Item = &'static str> {
    let all = IDENTITIES.iter().map(|identity| identity.name);
    all.filter(|name| *name != "kube-apiserver")
}

/// Writes all of them, and the key that signs service accounts' tokens.
pub fn write(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let authority = CertifiedIssuer::self_signed(authority()?, KeyPair::generate()?)?;
    fs::write(folder.join("ca.crt"), authority.pem())?;
    for identity in &IDENTITIES {
        let key = KeyPair::generate()?;
        let certificate = parameters(identity)?.signed_by(&key, &authority)?;
        save(folder, identity.name, &certificate.pem(), &key)
            .with_context(|| format!("certificate of {}", identity.name))?;
    }
    let tokens = KeyPair::generate()?;
    save(folder, "tokens", &tokens.public_key_pem(), &tokens)
}

fn authority() -> Result<CertificateParams> {
    let mut parameters = CertificateParams::new(Vec::<String>::new())?;
    parameters
        .distinguished_name
        .push(DnType::CommonName, "spanlet-test");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(parameters)
}

fn parameters(identity: &Identity) -> Result<CertificateParams> {
    let names: Vec<String> = identity.names.iter().map(ToString::to_string).collect();
    let mut parameters = CertificateParams::new(names)?;
    let subject = &mut parameters.distinguished_name;
    subject.push(DnType::CommonName, identity.user);
    if !identity.group.is_empty() {
        subject.push(DnType::OrganizationName, identity.group);
    }
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    Ok(parameters)
}

fn save(folder: &Path, name: &str, public: &str, key: &KeyPair) -> Result<()> {
    fs::write(folder.join(format!("{name}.crt")), public)?;
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem())?;
    Ok(())
}
