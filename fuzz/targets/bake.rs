//! Whatever a bake file says, evaluating it ends with targets or with a message, in bounded time and memory.
#![no_main]

use berth_build::bake::{Bake, BakeFile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let lookup = |name: &str| (name == "TAG").then(|| "1".to_owned());
    for name in ["docker-bake.hcl", "docker-bake.json", "compose.yaml"] {
        let file = BakeFile { name: name.to_owned(), text: text.to_owned() };
        let Ok(bake) = Bake::read(&[file], &lookup) else { continue };
        let names: Vec<String> = bake.names().into_iter().map(str::to_owned).collect();
        if let Ok(plan) = bake.plan(&names, &["*.args.X=1".to_owned()], &lookup) {
            assert!(plan.targets.values().all(|target| target.context.is_some()));
            let _ = plan.json();
        }
    }
});
