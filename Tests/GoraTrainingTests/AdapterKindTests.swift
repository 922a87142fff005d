import GoraFormats
import GoraMethods
import GoraModels
import GoraTraining
import Testing

struct AdapterKindTests {
  /// What goes together: magnitudes know the model's own weight alone, AdaLoRA's E = 0 stands for any A and B.
  @Test func startsOfAKind() {
    func starts(_ kind: any AdapterKind.Type) -> [String] { AdapterStarts.all.filter(kind.accepts).map { $0.name } }
    let own = ["gora", "lora", "lora-one", "head-start", "eva"]
    let residual = ["pissa", "milora", "olora", "lora-ga", "gora-svd"]
    #expect(Set(starts(LoRAKind.self)) == Set(own + residual) && starts(LoRAKind.self).first == "gora")
    #expect(Set(starts(DoRAKind.self)) == Set(own) && starts(DoRAKind.self).first == "gora")
    #expect(starts(AdaLoRAKind.self) == ["adalora"])
  }

  /// LoRA-Pro's equations and the projection of LoRA-FA are of s·B·A alone; AdaLoRA's ranks fall in its own rule alone.
  @Test func rulesOfAKind() {
    func rules(_ kind: any AdapterKind.Type) -> [String] { StepRules.all.filter { $0.trains(kind) }.map { $0.name } }
    #expect(rules(LoRAKind.self) == ["adamw", "lora-fa", "lora-fa-proj", "lora-pro", "lora-pro-light", "soap"])
    #expect(rules(DoRAKind.self) == ["adamw", "lora-fa"])
    #expect(rules(AdaLoRAKind.self) == ["adalora"])
  }

  /// PEFT's configuration tells every kind from the others, and so does the command line.
  @Test func namesAreTheirOwn() {
    #expect(Set(AdapterKinds.all.map { $0.name }).count == AdapterKinds.all.count)
    #expect(Set(AdapterKinds.all.map { "\($0.peftType) \($0.usesDoRA)" }).count == AdapterKinds.all.count)
  }
}
