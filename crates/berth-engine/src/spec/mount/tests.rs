//! Rows for every notation of a mount, good and bad.

use super::*;

fn show(mount: Result<Mount>) -> String {
    match mount {
        Ok(Mount::Bind(b)) => {
            let mut text = format!("{} -> {}", b.source.display(), b.target.display());
            text += if b.read_only { " ro" } else { "" };
            text += &if b.below == Below::Enabled { String::new() } else { format!(" {:?}", b.below) };
            text += b.propagation.map_or("", Propagation::as_str);
            text += owners(&b.owners);
            text += if b.flag == Flag::Mount && b.create_source { " create" } else { "" };
            text
        }
        Ok(Mount::Volume(v)) => {
            let mut text = format!("{} => {}", v.name.as_deref().unwrap_or("?"), v.target.display());
            text += if v.read_only { " ro" } else { "" };
            text += if v.no_copy { " nocopy" } else { "" };
            text += owners(&v.owners);
            text += &v.subpath.map_or(String::new(), |path| format!(" at {}", path.display()));
            text += &v.driver.map_or(String::new(), |driver| format!(" by {driver}"));
            text += &v.options.iter().map(|(key, value)| format!(" {key}={value}")).collect::<String>();
            text += &v.labels.iter().map(|(key, value)| format!(" [{key}={value}]")).collect::<String>();
            text
        }
        Ok(Mount::Tmpfs(t)) => format!("tmpfs {} {}", t.target.display(), t.options.join(",")),
        Ok(Mount::Image(i)) => {
            let mut text = format!("image {} -> {}", i.source, i.target.display());
            text += &i.subpath.map_or(String::new(), |path| format!(" at {}", path.display()));
            text += if i.read_only { " ro" } else { "" };
            text
        }
        Err(error) => error.to_string(),
    }
}

fn owners(owners: &Owners) -> &'static str {
    match owners {
        Owners::Kept => "",
        Owners::Shown => " shown",
        Owners::Mapped(_) => " mapped",
        Owners::Given => " given",
    }
}

#[test]
fn volumes() {
    for (text, expected) in [
        ("/a:/b", "/a -> /b"),
        ("/a:/b:ro", "/a -> /b ro"),
        ("/a:/b:rw,z", "/a -> /b"),
        ("/a:/b:idmap", "/a -> /b shown"),
        ("/a:/b:ro,U", "/a -> /b ro given"),
        ("/a:/b:idmap=uids=0-1-1;gids=0-1-1", "/a -> /b mapped"),
        ("/a:/b:idmap=x", "invalid idmap `x`"),
        ("/a:/b:idmap,U", "invalid mode: idmap,U"),
        ("data:/b:idmap", "data => /b shown"),
        ("/a:/b:ro,rslave", "/a -> /b rorslave"),
        ("/a/../c/:/b//d/.", "/c -> /b/d"),
        ("./x:/b", "/here/x -> /b"),
        ("../x:/b", "/x -> /b"),
        (".:/b", "/here -> /b"),
        ("", "invalid empty volume spec"),
        ("/a::ro", "invalid spec: /a::ro: empty section between colons"),
        (":/b", "invalid spec: :/b: empty section between colons"),
        ("/a:/b:", "invalid spec: /a:/b:: empty section between colons"),
        ("/a:/b:ro:x", "invalid spec: /a:/b:ro:x: too many colons"),
        ("/a:ro", "invalid volume specification: '/a:ro'"),
        ("/a:/b:rx", "invalid mode: rx"),
        ("/a:/b:ro,rw", "invalid mode: ro,rw"),
        ("/a:/b:ro,", "invalid mode: ro,"),
        (
            "/a:b",
            "invalid volume specification: '/a:b': invalid mount config for type \"bind\": invalid mount path: 'b' mount path must be absolute",
        ),
        (
            "/a:/",
            "invalid volume specification: '/a:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
        ),
        (
            "a/b:/b",
            "create a/b: \"a/b\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
        ),
        ("data:/b", "data => /b"),
        ("data.1_x-y:/b:ro,nocopy", "data.1_x-y => /b ro nocopy"),
        ("data:/b:cached", "data => /b"),
        ("/b", "anonymous /b"),
        ("b/../c/", "anonymous /c"),
        ("./b", "anonymous /b"),
        ("/", "invalid mount config for type \"volume\": invalid specification: destination can't be '/'"),
        ("data:/b:nocopy,nocopy", "invalid mode: nocopy,nocopy"),
        (
            "data:/b:rslave",
            "invalid volume specification: 'data:/b:rslave': invalid mount config for type \"volume\": field BindOptions must not be specified",
        ),
        (
            "/a:/b:nocopy",
            "invalid volume specification: '/a:/b:nocopy': invalid mount config for type \"bind\": field VolumeOptions must not be specified",
        ),
        (
            "data:b",
            "invalid volume specification: 'data:b': invalid mount config for type \"volume\": invalid mount path: 'b' mount path must be absolute",
        ),
        ("d:/b", "create d: volume name is too short, names should be at least two alphanumeric characters"),
    ] {
        let shown = match parse_volume(text, Path::new("/here")) {
            Ok(VolumeFlag::Anonymous(target)) => format!("anonymous {}", target.display()),
            Ok(VolumeFlag::Mount(mount)) => show(Ok(mount)),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected, "{text}");
    }
}

#[test]
fn mounts() {
    for (text, expected) in [
        ("type=bind,source=/a,target=/b", "/a -> /b"),
        ("type=bind,src=/a,dst=/b,readonly", "/a -> /b ro"),
        ("type=bind,src=/a,dst=/b,ro=false,bind-propagation=shared", "/a -> /bshared"),
        ("type=bind,src=/a,dst=/b,bind-recursive=disabled", "/a -> /b Disabled"),
        ("type=tmpfs,target=/t", "tmpfs /t "),
        ("type=bind,src=/a,dst=/b,idmap", "/a -> /b shown"),
        ("type=bind,src=/a,dst=/b,idmap=uids=0-1-1;gids=0-1-1", "/a -> /b mapped"),
        ("type=volume,src=ab,dst=/b,chown=true", "ab => /b given"),
        ("type=bind,src=/a,dst=/b,U=false", "/a -> /b"),
        ("type=tmpfs,dst=/t,idmap", "invalid mount config for type \"tmpfs\": memory has no owners to map"),
        ("type=tmpfs,destination=/t,tmpfs-size=1m,tmpfs-mode=1770,ro", "tmpfs /t size=1048576,mode=1770,ro"),
        ("type=bind,src=/a", "target is required"),
        ("type=bind,target=/b", "invalid mount config for type \"bind\": field Source must not be empty"),
        ("type=bind,src=a,target=/b", "/here/a -> /b"),
        ("type=bind,src=../a,target=/b,bind-create-src,bind-recursive=writable", "/a -> /b Writable create"),
        (
            "type=bind,src=/a,dst=/b,readonly,bind-recursive=readonly,bind-propagation=rprivate",
            "/a -> /b ro ReadOnlyrprivate",
        ),
        (
            "type=bind,src=/a,dst=/b,readonly,bind-recursive=readonly",
            "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction",
        ),
        (
            "type=bind,src=/a,dst=/b,bind-recursive=readonly",
            "option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction",
        ),
        (
            "type=bind,src=/a,dst=/b,bind-recursive=foo",
            "invalid value for bind-recursive: foo (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")",
        ),
        (
            "type=bind,src=/a,dst=/b,bind-propagation=foo",
            "invalid mount config for type \"bind\": invalid propagation mode: foo",
        ),
        ("type=bind,src=/a,dst=/b,consistency=cached", "/a -> /b"),
        ("type=bind,src=/a,dst=/b,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'"),
        (
            "type=tmpfs,src=/a,target=/b",
            "invalid mount config for type \"tmpfs\": field Source must not be specified",
        ),
        ("type=tmpfs,target=/b,bind-nonrecursive", "cannot mix 'bind-*' options with mount type 'tmpfs'"),
        ("type=bind,src=/a,dst=/b,tmpfs-size=1", "cannot mix 'tmpfs-*' options with mount type 'bind'"),
        ("type=bind,src", "invalid field 'src' must be a key=value pair"),
        ("type=bind,ro=maybe", "invalid value for ro: maybe"),
        ("type=bind,x=y", "unexpected key 'x' in 'x=y'"),
        ("src=vv,dst=/b", "vv => /b"),
        ("type=volume,dst=/b", "? => /b"),
        ("type=volume,src=,dst=/b,ro", "? => /b ro"),
        (
            "source=vv,target=/b,readonly=true,volume-nocopy=true,volume-label=k=v,volume-label=k2",
            "vv => /b ro nocopy [k=v] [k2=]",
        ),
        (
            "src=vv,dst=/b,volume-driver=local,volume-opt=type=nfs,\"volume-opt=o=addr=1.2.3.4,rw\"",
            "vv => /b by local o=addr=1.2.3.4,rw type=nfs",
        ),
        ("src=vv,dst=/b,volume-subpath=a/../c/d/", "vv => /b at c/d"),
        (
            "src=vv,dst=/b,volume-subpath=a/../../c",
            "invalid mount config for type \"volume\": subpath must be a relative path within the volume",
        ),
        (
            "src=vv,dst=/b,volume-subpath=/c",
            "invalid mount config for type \"volume\": subpath must be a relative path within the volume",
        ),
        (
            "src=v,dst=/b",
            "create v: volume name is too short, names should be at least two alphanumeric characters",
        ),
        (
            "type=volume,dst=b",
            "invalid mount config for type \"volume\": invalid mount path: 'b' mount path must be absolute",
        ),
        (
            "type=volume,dst=/",
            "invalid mount config for type \"volume\": invalid specification: destination can't be '/'",
        ),
        ("type=volume,dst=/b,tmpfs-size=1", "cannot mix 'tmpfs-*' options with mount type 'volume'"),
        ("type=tmpfs,dst=/b,tmpfs-size=10%", "invalid value for tmpfs-size: 10%"),
        ("type=tmpfs,dst=/b,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
        ("type=image,src=app:1,dst=/b", "image app:1 -> /b"),
        ("type=image,src=app,dst=/b/,image-subpath=./etc/x,readonly", "image app -> /b at etc/x ro"),
        ("type=image,src=app,dst=/b,image-subpath=,ro=false", "image app -> /b"),
        ("type=image,dst=/b", "invalid mount config for type \"image\": field Source must not be empty"),
        (
            "type=image,src=app,dst=/b,image-subpath=../x",
            "invalid mount config for type \"image\": subpath must be a relative path within the volume",
        ),
        ("type=volume,dst=/b,image-subpath=x", "cannot mix 'image-*' options with mount type 'volume'"),
        ("type=npipe,dst=/b", "invalid mount config for type \"npipe\": mount type unknown"),
        ("dst=/b,volume-nocopy=maybe", "invalid value for volume-nocopy: maybe"),
        ("dst=/b,volume-foo", "invalid field 'volume-foo' must be a key=value pair"),
        ("dst=/b,volume-foo=1", "unexpected key 'volume-foo' in 'volume-foo=1'"),
        ("", "EOF"),
        ("\"dst=/b", "`\"dst=/b` has a quote that does not end"),
        ("dst=\"/b\"", "`dst=\"/b\"` has a quote inside a field"),
    ] {
        let mount = parse_mount(text).and_then(|flag| flag.resolve(Path::new("/here")));
        assert_eq!(show(mount), expected, "{text}");
    }
}

#[test]
fn tmpfs() {
    for (text, expected) in [
        ("/run", "tmpfs /run "),
        ("/run:rw,noexec,size=64m", "tmpfs /run rw,noexec,size=64m"),
        ("/run:size=64m,bad", "invalid tmpfs option \"bad\""),
        ("/run:bad=1", "invalid tmpfs option \"bad=1\""),
        ("run", "invalid mount path: 'run' mount path must be absolute"),
        ("/", "invalid specification: destination can't be '/'"),
    ] {
        assert_eq!(show(parse_tmpfs(text)), expected, "{text}");
    }
}

#[test]
fn volumes_of_others() {
    for (text, expected) in [
        ("web", "web false"),
        ("web:ro", "web:ro true"),
        ("web:rw,z", "web:rw,z false"),
        ("web:bad", "invalid mode: bad"),
        ("web:ro:x", "invalid mode: ro:x"),
        (":ro", "invalid volumes-from specification: :ro"),
    ] {
        let shown = text
            .parse::<VolumesFrom>()
            .map_or_else(|e| e.to_string(), |from| format!("{from} {}", from.is_read_only()));
        assert_eq!(shown, expected);
    }
}
