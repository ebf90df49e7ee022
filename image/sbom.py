"""Says what is in the image, file by file, as SPDX 2.3: sbom.py <OCI archive> <JSON to write>

Read from the archive alone: every file is of the Debian package whose notes in /var/lib/dpkg/status.d have
its path and MD5, or one of ours; a file that is neither is an error. A package's licences are all that its
copyright file names, with AND: more than holds for the one library taken from it, never less. Where that
file is not in Debian's machine-readable form, or names what SPDX has no word for, its whole text is the licence.

Why not a tool that is there: debsbom 0.10 reads neither status.d nor files, and finds licences for a quarter
of these packages.
"""
import hashlib
import json
import os
import re
import sys
import tempfile
from email.parser import Parser
from urllib.parse import quote

import oci

STATUS = "var/lib/dpkg/status.d"
OURS = re.compile(rf"usr/bin/|usr/share/doc/ridged/|mnt/models/|etc/(passwd|group)$|{STATUS}/")
# Debian's short names, in lower case, that are not SPDX's.
NAMES = {"expat": "MIT", "mit": "MIT", "bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause",
         "apache-2": "Apache-2.0", "apache-2.0": "Apache-2.0", "artistic": "Artistic-1.0-Perl", "isc": "ISC",
         "zlib": "Zlib", "curl": "curl", "x11": "X11", "mpl-1.1": "MPL-1.1", "mpl-2.0": "MPL-2.0",
         "bsl": "BSL-1.0", "fsful": "FSFUL", "fsfullr": "FSFULLR", "beerware": "Beerware",
         "bsd-4-clause-uc": "BSD-4-Clause-UC", "oldap-2.8": "OLDAP-2.8", "openldap-2.8": "OLDAP-2.8"}


def spdx_name(short):
    """SPDX's identifier for one of Debian's short names, or None."""
    gnu = re.fullmatch(r"(L?GPL|GFDL)-(\d)(\.\d)?(\+?)", short)
    if gnu:
        return f"{gnu[1]}-{gnu[2]}{gnu[3] or '.0'}-{'or-later' if gnu[4] else 'only'}"
    return NAMES.get(short.lower())


def licences(text):
    """What the files' paragraphs of a copyright file name, and whether SPDX has words for all of it."""
    if not re.match(r"(?i)format:", text):
        return set(), False
    found, whole = set(), True
    for paragraph in re.split(r"\n\s*\n", text):
        if not re.search(r"(?im)^files:", paragraph):
            continue
        synopsis = re.search(r"(?im)^license:[ \t]*(.*)", paragraph)
        words = [w if w in ("and", "or") else spdx_name(w) for w in (synopsis[1] if synopsis else "").split()]
        if not words or None in words:
            whole = False
        elif "or" in words:
            found.add(f"({' '.join(w.upper() if w in ('and', 'or') else w for w in words)})")
        else:
            found |= set(words) - {"and"}
    return found, whole and bool(found)


def spdx_id(*parts):
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", "-".join(parts))


def sbom_files(root):
    """Every regular file: path -> (SHA-1, SHA-256, MD5)."""
    files = {}
    for folder, _, names in os.walk(root):
        for path in (os.path.join(folder, name) for name in names):
            if not os.path.islink(path):
                data = open(path, "rb").read()
                sums = [hashlib.new(name, data).hexdigest() for name in ("sha1", "sha256", "md5")]
                files[os.path.relpath(path, root)] = sums
    return files


def owners(root, files):
    """path -> package, for what Debian's packages brought; every MD5 compared."""
    owner = {}
    for notes in sorted(os.listdir(f"{root}/{STATUS}")):
        if notes.endswith(".md5sums"):
            for line in open(f"{root}/{STATUS}/{notes}"):
                md5, path = line.rstrip("\n").split("  ", 1)
                if files.get(path, [None] * 3)[2] != md5:
                    raise ValueError(f"{path}: expected the file that {notes} tells of")
                owner[path] = notes.removesuffix(".md5sums")
    strangers = [path for path in files if path not in owner and not OURS.match(path)]
    if strangers:
        raise ValueError(f"expected a package for {', '.join(strangers)}")
    return owner


def package(name, version, declared, sums):
    """sums: the SHA-1 of each of its files; SPDX sums those up in turn."""
    code = hashlib.sha1("".join(sorted(sums)).encode()).hexdigest()
    return {"SPDXID": spdx_id("Package", name), "name": name, "versionInfo": version,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": True, "packageVerificationCode": {"packageVerificationCodeValue": code},
            "licenseDeclared": declared, "licenseConcluded": "NOASSERTION", "copyrightText": "NOASSERTION"}


def debian_package(root, name, sums, extracted):
    notes = Parser().parsestr(open(f"{root}/{STATUS}/{name}").read())
    text = open(f"{root}/usr/share/doc/{name}/copyright", errors="replace").read()
    found, whole = licences(text)
    if not whole:
        found.add(f"LicenseRef-Debian-{name}")
        extracted.append({"licenseId": f"LicenseRef-Debian-{name}", "name": f"terms of Debian's {name}",
                          "extractedText": text})
    # "Source: curl" or "Source: cjson (1.7.15-1)", absent where the names are the same
    source, _, source_version = notes.get("Source", name).partition(" ")
    source_version = source_version.strip("()") or notes["Version"]
    described = package(name, notes["Version"], " AND ".join(sorted(found)), sums)
    described["supplier"] = "Organization: Debian"
    described["sourceInfo"] = f"Debian source package {source} {source_version}"
    release = re.search(r'(?m)^VERSION_ID="(.*)"', open(f"{root}/usr/lib/os-release").read())[1]
    purl = (f"pkg:deb/debian/{quote(name)}@{quote(notes['Version'], safe='')}?arch={notes['Architecture']}"
            f"&distro=debian-{release}&upstream={quote(f'{source}@{source_version}', safe='')}")
    described["externalRefs"] = [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                                  "referenceLocator": purl}]
    return described


def document(image, root):
    files = sbom_files(root)
    owner = owners(root, files)
    of = {}
    for path in sorted(files):
        of.setdefault(owner.get(path, "ridged"), []).append(path)
    extracted = []
    packages, relationships = [], []

    def relate(one, kind, other):
        relationships.append({"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other})

    # Without files of its own: they are its packages'.
    whole = {"SPDXID": "SPDXRef-Image", "name": image.name or "ridged", "versionInfo": image.digest,
             "downloadLocation": "NOASSERTION", "filesAnalyzed": False, "primaryPackagePurpose": "CONTAINER",
             "checksums": [{"algorithm": "SHA256", "checksumValue": image.digest.split(":")[1]}],
             "licenseDeclared": "NOASSERTION", "licenseConcluded": "NOASSERTION", "copyrightText": "NOASSERTION"}
    relate("SPDXRef-DOCUMENT", "DESCRIBES", whole["SPDXID"])
    for name, paths in sorted(of.items()):
        sums = [files[path][0] for path in paths]
        if name == "ridged":  # MIT: uPlot, in the page
            revision = image.config["config"].get("Labels", {}).get("org.opencontainers.image.revision", "unknown")
            packages.append(package(name, revision, "Apache-2.0 AND MIT", sums))
        else:
            packages.append(debian_package(root, name, sums, extracted))
        relate(whole["SPDXID"], "CONTAINS", packages[-1]["SPDXID"])
        for path in paths:
            relate(packages[-1]["SPDXID"], "CONTAINS", spdx_id("File", path))
    return {"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": whole["name"],
            "documentNamespace": f"https://spdx.org/spdxdocs/ridged-{image.digest.split(':')[1]}",
            "creationInfo": {"created": re.sub(r"\.\d+", "", image.config["created"]),
                             "creators": ["Tool: ridged image/sbom.py"]},
            "packages": [whole] + packages,
            "files": [{"SPDXID": spdx_id("File", path), "fileName": f"./{path}",
                       "checksums": [{"algorithm": "SHA1", "checksumValue": sums[0]},
                                     {"algorithm": "SHA256", "checksumValue": sums[1]}],
                       "licenseConcluded": "NOASSERTION", "copyrightText": "NOASSERTION"}
                      for path, sums in sorted(files.items())],
            "hasExtractedLicensingInfos": extracted, "relationships": relationships}


def main(archive, out):
    image = oci.read(archive)
    with tempfile.TemporaryDirectory() as root:
        oci.unpack(image, root)
        described = document(image, root)
    with open(out, "w") as file:
        json.dump(described, file, indent=1)
    print(f"{archive}: {image.digest}, {image.compressed / 1e6:.1f} MB compressed, "
          f"{len(described['files'])} files of {len(described['packages']) - 2} Debian packages and ours: {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])
